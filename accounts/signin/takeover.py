"""An account that somebody made with another person's address is worth nothing once that person comes.

Whoever signs up chooses a password before the address is proved. If its owner then signs in by an e-mailed code, the
address counts as proved, and the password of whoever came first would open their account. So it is wiped, in the
same request, before the code is accepted.
"""

from __future__ import annotations

from typing import Any

from allauth.account import signals
from allauth.account.models import EmailAddress
from django.http import HttpRequest

from accounts.models import User


def _proved_by_code(
    sender: Any, request: HttpRequest, user: User, method: str, email: str | None = None, **_: Any
) -> None:
    """allauth sends this before it marks the address as verified."""
    if method != "code" or not user.has_usable_password():
        return
    # Verified before: then the password was chosen, or kept, by whoever owns the address.
    if EmailAddress.objects.filter(user=user, verified=True).exists():
        return
    user.set_unusable_password()
    user.save(update_fields=["password"])


def connect() -> None:
    """Start watching; called once, when the app is ready."""
    signals.authentication_step_completed.connect(_proved_by_code, weak=False, dispatch_uid="accounts.takeover")
