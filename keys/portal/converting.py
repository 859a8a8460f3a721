"""Moving a key from encrypted to split, as its owner sees it: the offer, the confirmation, the progress, the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.models import KeyMode
from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import step_up
from keys import services
from keys.errors import CustodyError
from keys.models import Conversion, ConversionStep, KeyState, PersonalKey
from keys.portal.choices import KeyModeChoice, choices_for, table_rows
from keys.portal.presenting import present
from keys.selectors import key_of, split_provider

_TEXTS: Final[dict[str, str]] = {
    ConversionStep.SPLIT: "The HSM is making its key. That can take some minutes.",
    ConversionStep.MADE: "The second signer is getting its half.",
    ConversionStep.ADOPTED: "The new way is being tried out with a signature that nobody gets to see.",
    ConversionStep.CANCELLED: "It was given up. What was made for it is being removed.",
}


@dataclass(frozen=True, slots=True)
class ConversionView:
    """What the key's page shows of a move: ``step`` to tell whether there is news, ``text`` in plain words."""

    step: str
    text: str
    waits_for: str

    @property
    def has_failed(self) -> bool:
        return self.step == ConversionStep.FAILED

    @property
    def can_be_given_up(self) -> bool:
        return self.step not in {ConversionStep.FAILED, ConversionStep.CANCELLED}


class ConvertForm(forms.Form):
    """One tick: that it was understood."""

    understood = forms.BooleanField(
        label="I understand that there is no way back.",
        error_messages={"required": "Please confirm this before the key is moved."},
    )


def shown(key: PersonalKey) -> dict[str, Any]:
    """For the key's page: the move under way, and whether one is offered."""
    going = Conversion.objects.filter(key=key).first()
    moving = ConversionView(going.step, _TEXTS.get(going.step, ""), going.problem) if going else None
    is_free = moving is None or moving.has_failed
    return {"moving": moving, "offers_move": is_free and _target(key) is not None}


def _target(key: PersonalKey) -> KeyModeChoice | None:
    """What the key could be moved to; None where tenant or deployment do not allow it now."""
    if key.key_mode != KeyMode.ENCRYPTED or key.state != KeyState.ACTIVE:
        return None
    wanted = (KeyMode.HSM, split_provider())
    choices = choices_for(key.tenant, imports=True)
    found = [choice for choice in choices if (choice.offer.key_mode, choice.offer.provider) == wanted]
    return next((choice for choice in found if choice.offer.is_available), None)


def _now(key: PersonalKey) -> list[KeyModeChoice]:
    return [
        choice
        for choice in choices_for(key.tenant)
        if (choice.offer.key_mode, choice.offer.provider) == (key.key_mode, key.provider_of_mode)
    ]


@portal_view("GET", "POST", action=MemberPermission.MANAGE_KEY)
def convert(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Move the key: fresh re-authentication, what changes in plain words, and a tick."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    target = _target(key)
    if target is None or not shown(key)["offers_move"]:
        return redirect("keys:detail", key_id=key.id)
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    form = ConvertForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.convert_key(actor=actor_of(request), key=key)
        except CustodyError as refused:
            form.add_error("understood", refused.public_message)
        else:
            messages.success(request, "The move has begun. Your apps can go on; this page shows how far it is.")
            return redirect("keys:detail", key_id=key.id)
    context = {"key": present(key), "form": form, "target": target, "table": table_rows([*_now(key), target])}
    context["columns"] = [*(choice.name for choice in _now(key)), target.name]
    return render(request, "keys/convert.html", context, status=422 if request.method == "POST" else 200)


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def cancel_conversion(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Leave the key as it is, or put the notice of a failed move away."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    going = Conversion.objects.filter(key=key).first()
    if going is None:
        messages.info(request, "There is nothing to stop: the move has ended.")
        return redirect("keys:detail", key_id=key.id)
    services.cancel_conversion(actor=actor_of(request), key=key)
    if going.step != ConversionStep.FAILED:
        messages.success(request, "The move was stopped. The key stays as it is.")
    return redirect("keys:detail", key_id=key.id)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def progress(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Asked by htmx while a key is moved: 204 while there is no news, else the page is to be loaded again."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    if not request.htmx:
        return redirect("keys:detail", key_id=key.id)
    going = Conversion.objects.filter(key=key).first()
    if going is not None and going.step == request.GET.get("seen"):
        return HttpResponse(status=204)
    return HttpResponse(status=200, headers={"HX-Refresh": "true"})
