"""Fresh re-authentication before what cannot be undone, in the portal."""

from __future__ import annotations

from django.http import HttpResponse

from accounts.portal.access import PortalRequest
from accounts.signin.stepup import is_fresh, is_possible, to_proof
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
