"""Replacing a key by a new one, as its owner sees it: what it means, the confirmation, and both keys afterwards."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import step_up
from keys.errors import CustodyError
from keys.models import KeyState, PersonalKey, Rotation
from keys.portal.presenting import npub, present
from keys.rotation import services
from keys.rotation.scope import RotationScope
from keys.rotation.selectors import UNFINISHED
from keys.selectors import key_of

_REPLACEABLE = (KeyState.ACTIVE, KeyState.LOCKED, KeyState.DISABLED)


class ReplaceForm(forms.Form):
    """One tick: that it was understood."""

    understood = forms.BooleanField(
        label="I understand that followers and apps do not move by themselves.",
        error_messages={"required": "Please confirm this before the key is replaced."},
    )


def shown(key: PersonalKey) -> dict[str, Any]:
    """For the key's page: its successor and predecessor, whether one is being made, and whether it is offered."""
    heir = key.replaced_by
    predecessor = PersonalKey.objects.filter(replaced_by=key, replaced_at__isnull=False).first()
    is_going = key.replaced_at is None and _is_going(key)
    return {
        "successor": heir if key.replaced_at else None,
        "successor_npub": npub(heir.public_key) if heir else "",
        "predecessor": predecessor,
        "is_being_replaced": is_going,
        "offers_replacement": not is_going and _is_replaceable(key),
    }


def _is_replaceable(key: PersonalKey) -> bool:
    return key.replaced_at is None and key.state in _REPLACEABLE


def _is_going(key: PersonalKey) -> bool:
    found = Rotation.objects.filter(kind="identity", scope=RotationScope.of_key(key).text, state__in=UNFINISHED)
    return found.exists()


@portal_view("GET", "POST", action=MemberPermission.MANAGE_KEY)
def replace(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Replace the key: fresh re-authentication, what happens in plain words, and a tick."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    if not _is_replaceable(key) or _is_going(key):
        return redirect("keys:detail", key_id=key.id)
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    form = ReplaceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.start(actor=actor_of(request), kind="identity", scope=RotationScope.of_key(key))
        except CustodyError as refused:
            form.add_error("understood", refused.public_message)
        else:
            messages.success(request, "A new key is being made in the place of this one.")
            return redirect("keys:detail", key_id=key.id)
    context = {"key": present(key), "form": form}
    return render(request, "keys/replace.html", context, status=422 if request.method == "POST" else 200)
