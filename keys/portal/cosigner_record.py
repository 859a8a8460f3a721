"""The co-signer's own record of a split key, as its owner reads it beside ours."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from keycast.base.errors import KeycastError
from keycast.nostr.types import is_hex
from keys import services
from keys.errors import KeyNotFound
from keys.models import PersonalKey
from keys.portal import panels
from keys.selectors import is_split, key_of
from keys.split import comparison
from keys.split.cosigner_record import CosignerRecord, ReadingView, record_of

_LARGEST = 2**53


def shown(key: PersonalKey) -> dict[str, Any]:
    """For the key's page: whether a co-signer keeps a record of it, and the latest differences from ours."""
    if not is_split(key):
        return {}
    return {"has_cosigner_record": True, "record_differences": comparison.differences_of(key)}


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def record(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """A page of the record, asked of the co-signer now; says so where it does not answer."""
    key = _split_key(request, key_id)
    before = request.GET.get("before", "")
    context: dict[str, Any] = {"key": key, "differences": comparison.differences_of(key)}
    try:
        found = record_of(key, int(before) if before.isdecimal() and int(before) < _LARGEST else 0)
        context |= {"record": found, "readings": _named(request, key, found)}
    except KeycastError as error:
        context["problem"] = error.public_message
    return render(request, "keys/cosigner_record.html", context)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def status(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """For the key's page, by htmx once it is there: whether the co-signer answers, and whether its operator stopped."""
    key = _split_key(request, key_id)
    if not request.htmx:
        return redirect("keys:cosigner_record", key_id=key.id)
    context: dict[str, Any] = {}
    try:
        found = record_of(key, 0)
        context |= {"record": found, "readings": _named(request, key, found), "key": key}
    except KeycastError as error:
        context["problem"] = error.public_message
    return render(request, "keys/cosigner_status.html", context)


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def end_reading(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """End an app's reading grant. It is safe, so it asks for nothing more."""
    key, client = _split_key(request, key_id), request.POST.get("client", "")
    if is_hex(client, 32):
        services.end_reading(actor=actor_of(request), key=key, client=client)
        messages.success(request, "The app's reading grant is ended. Until its time is up, it gets no other one.")
    return redirect("keys:cosigner_record", key_id=key.id)


def _named(request: PortalRequest, key: PersonalKey, found: CosignerRecord) -> list[tuple[str, ReadingView]]:
    """What the owner calls the app, and its grant; an app that we do not know is named by its key."""
    names = panels.app_names(request, key) if found.readings else {}
    return [
        (names.get(reading.client) or f"An app that is not yours ({reading.client})", reading)
        for reading in found.readings
    ]


def _split_key(request: PortalRequest, key_id: UUID) -> PersonalKey:
    """The member's own split key. Raises KeyNotFound for any other."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    if not is_split(key):
        raise KeyNotFound
    return key
