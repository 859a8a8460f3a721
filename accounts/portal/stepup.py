"""Fresh re-authentication before what cannot be undone."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts.portal.access import PortalRequest
from keycast.errors import KeycastError


class NothingToConfirmWith(KeycastError):
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
    methods = get_adapter().get_reauthentication_methods(request.user)
    if not methods:
        raise NothingToConfirmWith
    if did_recently_reauthenticate(request):
        return None
    return HttpResponseRedirect(
        f"{methods[0].get('url') or reverse('account_reauthenticate')}?{urlencode({'next': back_to})}"
    )
