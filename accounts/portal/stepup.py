"""Fresh re-authentication before what cannot be undone, in the portal."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpResponse
from django.urls import reverse

from accounts.portal.access import PortalRequest
from accounts.signin.freshness import signed_in_just_now
from accounts.signin.stepup import is_fresh, is_possible, keep, to_proof
from keycast.base.errors import KeycastError


class NoConfirmationMethod(KeycastError):
    """The account has neither password, authenticator app nor passkey, so nobody can prove to be its owner."""

    code = "step-up-impossible"
    public_message = (
        "This needs a fresh proof that it is you. Set a password, an authenticator app or a passkey "
        "under Account first, then come back."
    )
    http_status = 403


def step_up(request: PortalRequest, *, back_to: str) -> HttpResponse | None:
    """None when the person proved who they are a moment ago; else the way to do so, which ends at ``back_to``.

    allauth counts an account without any means of proof as proven; here that is a refusal.
    """
    if not is_possible(request.user):
        raise NoConfirmationMethod
    return None if is_fresh(request, request.user) else to_proof(request.user, back_to)


def prove(request: PortalRequest, *, back_to: str, values: dict[str, Any] | None = None) -> HttpResponse | None:
    """As ``step_up``, for what everybody does, accounts with e-mailed codes alone among them: they sign in again.

    ``values`` are kept for ``back_to`` (accounts.signin.stepup.take_form_data), so that nobody types them twice.
    """
    if is_possible(request.user):
        if is_fresh(request, request.user):
            return None
        if values is not None:
            keep(request, back_to, values)
        messages.info(request, "First a fresh proof that it is you; then press the button once more.")
        return to_proof(request.user, back_to)
    if signed_in_just_now(request, request.user):
        return None
    # The page for signing in sends away whoever is signed in.
    logout(request)
    messages.warning(request, "This needs a fresh proof that it is you. Please sign in again; it then goes on here.")
    return redirect_to_login(back_to, reverse("account_login"))
