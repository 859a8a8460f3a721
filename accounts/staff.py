"""The gate of the staff admin: platform staff, and a second factor or passkey used in this very session.

The admin site uses it as ``has_permission`` (is_admitted) and ``login`` (staff_login).
"""

from __future__ import annotations

from allauth.account.authentication import get_authentication_records
from allauth.account.utils import get_next_redirect_url
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import User


def is_admitted(request: HttpRequest) -> bool:
    """True for active platform staff who passed a second factor, or signed in by passkey, in this session."""
    user = request.user
    if not isinstance(user, User) or not (user.is_active and user.is_staff):
        return False
    return passed_second_factor(request, user)


def passed_second_factor(request: HttpRequest, user: User) -> bool:
    """Whether this session has proved more than a password or an e-mailed code, and still could."""
    records = get_authentication_records(request, user)
    return any(step.get("method") == "mfa" for step in records) and bool(is_mfa_enabled(user))


def staff_login(request: HttpRequest, extra_context: object = None) -> HttpResponse:
    """Send whoever wants into the admin to the step they still lack. Raises PermissionDenied for other people."""
    user, target = request.user, get_next_redirect_url(request) or reverse("admin:index")
    if not isinstance(user, User):
        return _redirect("account_login", target)
    if not (user.is_active and user.is_staff):
        raise PermissionDenied
    if not is_mfa_enabled(user):
        messages.warning(request, "Staff need a second factor. Set one up, then open the admin again.")
        return _redirect("mfa_activate_totp", target)
    if not passed_second_factor(request, user):
        return _redirect("mfa_reauthenticate", target)
    return HttpResponseRedirect(target)


def _redirect(name: str, target: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse(name)}?{urlencode({'next': target})}")
