"""Changing how one signs in needs a fresh proof: of the second factor by those who have one, and of everybody else.

allauth asks for a password or a second factor again; an account without either it takes as proved, so a stolen session
could set a password or another address and keep the account. Here such an account has to have signed in just now. And
allauth takes a password alone from those who have a second factor; here its page for that sends them on to prove it.
"""

from __future__ import annotations

import time
from typing import Any

from allauth.account import app_settings
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from accounts.models import User
from accounts.signin.stepup import is_fresh, to_proof
from accounts.staff.gate import SECOND_FACTORS

GUARDED = frozenset(
    {
        "account_set_password",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_signup_webauthn",
        "mfa_generate_recovery_codes",
    }
)
"""Names of allauth's addresses that add a means to sign in; the page of addresses is guarded where it changes one."""

GUARDED_BY_FACTOR = GUARDED | {"account_change_password", "mfa_deactivate_totp", "mfa_remove_webauthn"}
"""Those that ask an account with a second factor for that factor: it decides who can sign in, or who no longer can."""

_FOR_PASSWORD = "account_reauthenticate"  # noqa: S105 -- an address
_LOOKED_AT = GUARDED_BY_FACTOR | {_FOR_PASSWORD}


class FreshSignInMiddleware(MiddlewareMixin):
    """Sends people with an old session and no means of proof to sign in again, and then back.

    And people with a second factor from the page that asks for a password to the one that asks for the factor.
    """

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        name = request.resolver_match.url_name if request.resolver_match else None
        # Looking at one's addresses needs no proof.
        changes_address = name == "account_email" and request.method == "POST"
        user = request.user
        if not (name in _LOOKED_AT or changes_address) or not isinstance(user, User):
            return None
        if is_mfa_enabled(user, SECOND_FACTORS):
            return _by_factor(request, user, is_page_for_password=name == _FOR_PASSWORD)
        if not (name in GUARDED or changes_address):
            return None
        # Who has a password is asked for it by allauth itself.
        if get_reauthentication_flows(user) or signed_in_just_now(request, user):
            return None
        logout(request)
        messages.warning(
            request, "This needs a fresh proof that it is you. Please sign in again; it then goes on here."
        )
        return redirect_to_login(request.path, reverse("account_login"))


def _by_factor(request: HttpRequest, user: User, *, is_page_for_password: bool) -> HttpResponseBase | None:
    if is_page_for_password:
        return to_proof(user, request.GET.get("next") or request.POST.get("next") or "/")
    return None if is_fresh(request, user) else to_proof(user, request.path)


def signed_in_just_now(request: HttpRequest, user: User) -> bool:
    """Whether the session began or proved itself within ``REAUTHENTICATION_TIMEOUT``: for accounts with codes alone."""
    times = [float(step.get("at", 0)) for step in get_authentication_records(request, user)]
    return bool(times) and time.time() - max(times) < app_settings.REAUTHENTICATION_TIMEOUT
