"""The gate of the staff admin: platform staff, and a second factor or passkey used in this very session.

The admin site uses it for has_permission (is_admitted), and to lead those who are not there yet (to_second_factor).
"""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts.account_seals import is_sealed
from accounts.models import User

SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""Recovery codes by themselves are none: they only stand in for one that is lost."""


def is_admitted(request: HttpRequest) -> bool:
    """True for active platform staff who passed a second factor, or signed in by passkey, in this session."""
    user = request.user
    if not isinstance(user, User) or not (user.is_active and user.is_staff and is_sealed(user)):
        return False
    return passed_second_factor(request, user)


def passed_second_factor(request: HttpRequest, user: User) -> bool:
    """Whether this very session has proved more than a password or an e-mailed code, and still could.

    That the account has a second factor is not enough: a session opened before, by somebody who knows the password,
    must not become more when its owner sets one up.
    """
    records = get_authentication_records(request, user)
    return any(step.get("method") == "mfa" for step in records) and bool(is_mfa_enabled(user, SECOND_FACTORS))


def to_second_factor(request: HttpRequest, target: str) -> HttpResponse:
    """Lead staff to the step they lack: set a second factor up, or use the one they have; then to ``target``."""
    if not is_mfa_enabled(request.user, SECOND_FACTORS):
        messages.warning(request, "The admin needs a second factor. Set one up here, then come back.")
        return HttpResponseRedirect(reverse("mfa_index"))
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    address = next(method["url"] for method in methods if method["id"].startswith("mfa"))
    return HttpResponseRedirect(f"{address}?{urlencode({'next': target})}")
