"""Nobody signs in to an account, or proves who they are, with what somebody wrote past us (accounts.account_seals).

Asked at every step of signing in and of proving it again, by whatever means, before a session holds anything of it;
when a password is set by a code; and with each request, of the account's row alone. The audit log has what was refused.
"""

from __future__ import annotations

from typing import Any

import structlog
from allauth.account.signals import authentication_step_completed
from django.contrib.auth import logout
from django.db import transaction
from django.http import HttpRequest

from accounts.account_seals import is_sealed, is_whole
from accounts.errors import AccountNotSealed
from accounts.models import User
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import PLATFORM, record
from keycast.audit.tags import AuditOutcome, AuditTag

log = structlog.get_logger(__name__)


def require_whole(request: HttpRequest, user: User) -> None:
    """Raises AccountNotSealed, writes it down, and ends the session that was being made."""
    if is_whole(user.pk):
        return
    write_down(user)
    request.session.flush()
    raise AccountNotSealed


def end_unsealed_session(request: HttpRequest) -> bool:
    """Sign out whoever is signed in to an account whose row does not fit its seal; whether that was so."""
    user = request.user
    if not isinstance(user, User) or is_sealed(user):
        return False
    write_down(user)
    logout(request)
    return True


def write_down(user: User) -> None:
    """One row in the platform's chain, which staff see."""
    log.error("account_not_sealed", user=user.pk.hex)
    with transaction.atomic():
        refused, actor = {"user": user.pk.hex}, Actor.system("sign-in")
        record(AuditEntry(PLATFORM, AuditTag.ACCOUNT_NOT_SEALED, AuditOutcome.DENIED, actor, data=refused))


def _step_completed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    require_whole(request, user)


def connect() -> None:
    """Start asking; called once, when the app is ready, before anything else hears of a completed step."""
    authentication_step_completed.connect(_step_completed, weak=False, dispatch_uid="accounts.integrity")
