"""Sign-ins and changes of the means to sign in, written to the audit log of the tenant on whose host they happened."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth
from django.db import transaction
from django.http import HttpRequest

from accounts.middleware import bind_session
from accounts.models import User
from accounts.signin.registration import tenant_of
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag


def _write(request: HttpRequest | None, actor: Actor, tag: AuditTag, outcome: AuditOutcome, **data: Any) -> None:
    tenant = tenant_of(request) if request is not None else None
    if request is not None:
        data["address"] = request.META.get("REMOTE_ADDR", "")
    with transaction.atomic():
        record(AuditEntry(chain_of(tenant.id if tenant else None), tag, outcome, actor, data=data))


def _signed_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    bind_session(request)
    methods = request.session.get("account_authentication_methods", [])
    _write(
        request, Actor.user(user), AuditTag.SIGNED_IN, AuditOutcome.OK, methods=[step.get("method") for step in methods]
    )


def _signed_out(sender: Any, request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if user is not None:
        _write(request, Actor.user(user), AuditTag.SIGNED_OUT, AuditOutcome.OK)


def _failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Never what was typed: a password may stand where the address belongs. Only an account that exists is named."""
    # For the log alone: what the page says does not depend on it.
    user = User.objects.filter(email=str(credentials.get("email") or "").strip().lower()).first()
    actor = Actor.user(user) if user else Actor.anonymous()
    _write(request, actor, AuditTag.SIGN_IN_FAILED, AuditOutcome.DENIED, method="password")


def _code_rejected(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    _write(request, Actor.user(user), AuditTag.SIGN_IN_FAILED, AuditOutcome.DENIED, method="code")


def _step_completed(sender: Any, request: HttpRequest, user: User, method: str, **extra: Any) -> None:
    if extra.get("reauthenticated"):
        _write(request, Actor.user(user), AuditTag.REAUTHENTICATED, AuditOutcome.OK, method=method)


def _email_confirmed(sender: Any, request: HttpRequest, email_address: Any, **_: Any) -> None:
    _write(request, Actor.user(email_address.user), AuditTag.EMAIL_VERIFIED, AuditOutcome.OK, email=email_address.email)


def _email_changed(sender: Any, request: HttpRequest, user: User, to_email_address: Any, **_: Any) -> None:
    _write(request, Actor.user(user), AuditTag.EMAIL_CHANGED, AuditOutcome.OK, email=to_email_address.email)


def _authenticator(tag: AuditTag, sender: Any, request: HttpRequest, user: User, authenticator: Any, **_: Any) -> None:
    _write(request, Actor.user(user), tag, AuditOutcome.OK, type=str(authenticator.type))


def _password(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    _write(request, Actor.user(user), AuditTag.PASSWORD_CHANGED, AuditOutcome.OK)


_ADDED = functools.partial(_authenticator, AuditTag.AUTHENTICATOR_ADDED)
_REMOVED = functools.partial(_authenticator, AuditTag.AUTHENTICATOR_REMOVED)
_RESET = functools.partial(_authenticator, AuditTag.AUTHENTICATOR_RESET)
_RECEIVERS: tuple[tuple[Any, Callable[..., None]], ...] = (
    (auth.user_logged_in, _signed_in),
    (auth.user_logged_out, _signed_out),
    (auth.user_login_failed, _failed),
    (account.login_code_rejected, _code_rejected),
    (account.authentication_step_completed, _step_completed),
    (account.password_set, _password),
    (account.password_changed, _password),
    (account.password_reset, _password),
    (account.email_confirmed, _email_confirmed),
    (account.email_changed, _email_changed),
    (mfa.authenticator_added, _ADDED),
    (mfa.authenticator_removed, _REMOVED),
    (mfa.authenticator_reset, _RESET),
)


def connect() -> None:
    """Start writing; called once, when the app is ready."""
    for number, (signal, receiver) in enumerate(_RECEIVERS):
        signal.connect(receiver, weak=False, dispatch_uid=f"accounts.history.{number}")
