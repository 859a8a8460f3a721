"""Fresh proof that it is still the same person, before what cannot be undone: never by less than they have.

allauth takes a password alone from an account that has a second factor. Here such an account proves that factor: in
the portal, in the admin and (accounts.signin) wherever allauth itself asks again.
"""

from __future__ import annotations

import time
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import User
from accounts.staff.gate import SECOND_FACTORS

_KEPT = "kept-input"


def is_fresh(request: HttpRequest, user: User) -> bool:
    """Whether this session proved itself again within ``REAUTHENTICATION_TIMEOUT``; signing in does not count.

    By second factor (authenticator app, passkey or recovery code) where the account has one, else by password.
    """
    needs_factor = is_mfa_enabled(user, SECOND_FACTORS)
    oldest = time.time() - app_settings.REAUTHENTICATION_TIMEOUT
    return any(
        step.get("reauthenticated") and step.get("at", 0) > oldest and (step.get("method") == "mfa" or not needs_factor)
        for step in get_authentication_records(request, user)
    )


def is_possible(user: User) -> bool:
    """Whether the account has anything to prove itself with."""
    return bool(get_adapter().get_reauthentication_methods(user))


def to_proof(user: User, back_to: str) -> HttpResponseRedirect:
    """The way to prove it, which ends at ``back_to``, an address of ours."""
    methods = get_adapter().get_reauthentication_methods(user)
    # The adapter puts the strongest one first; a password is among them only for who has no second factor.
    address = methods[0].get("url") or reverse("account_reauthenticate")
    return HttpResponseRedirect(f"{address}?{urlencode({'next': back_to})}")


def keep(request: HttpRequest, place: str, values: dict[str, Any]) -> None:
    """Keep what was typed at ``place`` (a path) while the person proves who they are; one place at a time."""
    request.session[_KEPT] = {"place": place, "values": values, "at": time.time()}


def take_form_data(request: HttpRequest, place: str) -> dict[str, Any] | None:
    """What was kept for ``place``, once; None after the time for a proof is over."""
    kept = request.session.get(_KEPT)
    # Another page's input stays: a person who looks elsewhere meanwhile still finds it.
    if not kept or kept["place"] != place:
        return None
    del request.session[_KEPT]
    # Twice: so long the proof itself may take, and so long it then counts.
    return kept["values"] if time.time() - kept["at"] < 2 * app_settings.REAUTHENTICATION_TIMEOUT else None
