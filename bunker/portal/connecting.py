"""Letting an app in: a bunker URL shown once, or a nostrconnect:// address approved (NIP-46)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.cache import cache
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.crypto import get_random_string

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.qr import qr_data_uri
from accounts.portal.stepup import prove
from accounts.signin.stepup import take_form_data
from bunker import services
from bunker.policy import TEMPLATES
from bunker.portal.forms import ApproveForm, ConnectForm, GrantForm, UriForm
from bunker.portal.presentation import present
from bunker.portal.requested_permissions import offers, wishes
from keycast.base.errors import KeycastError
from keycast.nostr.uris import LeftOut, NostrConnectUri
from keys.models import KeyState, PersonalKey
from keys.selectors import keys_of

ONCE_SECONDS = 24 * 3600
_PARTS = {
    "relay": "A relay that Keycast cannot use",
    "perms": "A permission that nobody knows",
    "url": "Its address, which is no web address",
    "image": "Its picture, which is no web address",
}
"""What is said of a part of an app's address that is left out (keycast.nostr.uris.LeftOut)."""


@portal_view("GET", "POST", action=MemberPermission.CONNECT_APP)
def connect(request: PortalRequest) -> HttpResponse:
    """Choose what to grant, then see the bunker URL: in this one answer, and never again."""
    keys = _active_keys(request)
    policies = services.policies_of(request.tenant)
    if request.method == "GET":
        kept = take_form_data(request, request.path)
        form = ConnectForm(initial=kept, keys=keys, policies=policies) if kept else _fresh_form(request, keys)
        return _connect_page(request, form, keys)
    form = ConnectForm(request.POST, keys=keys, policies=policies)
    if not form.is_valid():
        return _connect_page(request, form, keys, status=422)
    return _proof_for(request, form) or _issue(request, form)


def _proof_for(request: PortalRequest, form: GrantForm) -> HttpResponse | None:
    """The way to a fresh proof where the grant opens messages or speaks for the person: a stolen session has none."""
    if not TEMPLATES[form.cleaned_data["policy"]].needs_proof:
        return None
    return prove(request, back_to=request.path, values=form.cleaned_data)


def _issue(request: PortalRequest, form: ConnectForm) -> HttpResponse:
    mark = f"portal:once:{request.user.id.hex}:{form.cleaned_data['once']}"
    if not cache.add(mark, "", ONCE_SECONDS):
        return _shown_already(request, cache.get(mark, ""))
    try:
        issued = services.create_bunker_url(
            actor=actor_of(request),
            key=form.chosen_key,
            policy_slug=form.cleaned_data["policy"],
            name=form.cleaned_data["name"],
            expires_at=form.expires_at,
        )
    except KeycastError:  # nothing was shown, so the same form may be sent again
        cache.delete(mark)
        raise
    cache.set(mark, issued.connection.id.hex, ONCE_SECONDS)
    context = {
        "app": present(issued.connection),
        "uri": issued.uri,
        "qr": qr_data_uri(issued.uri),
        "secret_expires_at": issued.secret_expires_at,
    }
    return render(request, "apps/bunker_url.html", context)


def _shown_already(request: PortalRequest, connection_id: str) -> HttpResponse:
    messages.warning(request, "That address was shown once already, and is not kept. If you lost it, make a new one.")
    if not connection_id:
        return redirect("apps:list")
    return redirect("apps:detail", connection_id=UUID(connection_id))


def _fresh_form(request: PortalRequest, keys: list[PersonalKey]) -> ConnectForm:
    policy = services.default_policy_of(request.tenant)
    initial = {"key": request.GET.get("key", ""), "policy": policy, "once": get_random_string(32)}
    return ConnectForm(initial=initial, keys=keys, policies=services.policies_of(request.tenant))


def _connect_page(
    request: PortalRequest, form: ConnectForm, keys: list[PersonalKey], status: int = 200
) -> HttpResponse:
    offered = offers(templates=services.policies_of(request.tenant))
    context = {"form": form, "keys": keys, "offers": offered, "policy": form["policy"].value()}
    return render(request, "apps/connect.html", context, status=status)


@portal_view("GET", "POST", action=MemberPermission.CONNECT_APP)
def approve(request: PortalRequest) -> HttpResponse:
    """Take a pasted nostrconnect:// address, show what it asks for, and let the app in when its owner says so."""
    keys = _active_keys(request)
    if request.method == "GET":
        kept = take_form_data(request, request.path)
        return _kept_review(request, kept, keys) or render(
            request, "apps/approve.html", {"form": UriForm(), "keys": keys}
        )
    given = UriForm(request.POST)
    if not given.is_valid():
        return render(request, "apps/approve.html", {"form": given, "keys": keys}, status=422)
    policies = services.policies_of(request.tenant)
    if "policy" not in request.POST:
        policy = services.default_policy_of(request.tenant)
        initial = {"uri": given.cleaned_data["uri"], "name": given.parsed.name, "policy": policy}
        return _review_page(request, ApproveForm(initial=initial, keys=keys, policies=policies), given, keys)
    form = ApproveForm(request.POST, keys=keys, policies=policies)
    if not form.is_valid():
        return _review_page(request, form, given, keys, status=422)
    return _proof_for(request, form) or _let_in(request, form)


def _kept_review(request: PortalRequest, kept: dict[str, Any] | None, keys: list[PersonalKey]) -> HttpResponse | None:
    """The review as it was before the person proved who they are; None without one."""
    given = UriForm({"uri": kept["uri"]}) if kept else None
    if kept is None or given is None or not given.is_valid():
        return None
    form = ApproveForm(initial=kept, keys=keys, policies=services.policies_of(request.tenant))
    return _review_page(request, form, given, keys)


def _let_in(request: PortalRequest, form: ApproveForm) -> HttpResponse:
    connection = services.approve_nostrconnect(
        actor=actor_of(request),
        key=form.chosen_key,
        uri=form.parsed,
        policy_slug=form.cleaned_data["policy"],
        name=form.cleaned_data["name"],
        expires_at=form.expires_at,
    )
    messages.success(request, "You let the app in. Keycast now tells it so over its relays.")
    usable = services.usable_relays(request.tenant, form.parsed.relays)
    if left_out := [url for url in usable if url not in connection.relays]:
        text = "Your apps, or this community's, use as many relays as they may. These of the app's are left out: {}."
        messages.warning(request, text.format(", ".join(left_out)))
    return redirect("apps:detail", connection_id=connection.id)


def _review_page(
    request: PortalRequest, form: ApproveForm, given: UriForm, keys: list[PersonalKey], status: int = 200
) -> HttpResponse:
    uri = given.parsed
    client = uri.client_public_key
    context = {
        "form": form,
        "keys": keys,
        "policy": form["policy"].value(),
        "app": {
            "name": uri.name,
            "url": uri.url,
            "client": client,
            "relays": services.usable_relays(request.tenant, uri.relays),
        },
        "is_narrowed": bool(uri.permissions.known),
        "wishes": wishes(uri.permissions.known),
        "left_out": _left_out(request, uri),
        "offers": offers(uri.permissions.known, services.policies_of(request.tenant)),
    }
    return render(request, "apps/review.html", context, status=status)


def _left_out(request: PortalRequest, uri: NostrConnectUri) -> list[tuple[str, str]]:
    usable = services.usable_relays(request.tenant, uri.relays)
    found = [*uri.left_out, *(LeftOut("relay", url) for url in uri.relays if url not in usable)]
    return [(_PARTS[part], text) for part, text in found]


def _active_keys(request: PortalRequest) -> list[PersonalKey]:
    return list(keys_of(tenant=request.tenant, user=request.user).filter(state=KeyState.ACTIVE))
