"""Pages about keys: parse, call a service, render."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import prove, step_up
from keys import services
from keys.errors import KeyNotFound
from keys.lifecycle.modes import ModeOffer
from keys.models import KeyState, PersonalKey
from keys.portal import converting, cosigner_record, exporting, panels, replacing, succession
from keys.portal.choices import KeyModeChoice, choices_for, form_options, table_rows
from keys.portal.forms import CreateKeyForm, DestroyForm, KeyNameForm
from keys.portal.presenting import present
from keys.selectors import failed_key_of, failed_keys_of, key_of, keys_of


def own_key(request: PortalRequest, key_id: UUID) -> PersonalKey:
    """The signed-in member's own key in this tenant; NotFound for anybody else's."""
    return key_of(tenant=request.tenant, user=request.user, key_id=key_id)


def to_key(key: PersonalKey) -> HttpResponse:
    return redirect("keys:detail", key_id=key.id)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def key_list(request: PortalRequest) -> HttpResponse:
    """All keys of the member, with apps and last use."""
    found = panels.annotated(keys_of(tenant=request.tenant, user=request.user))
    failed = failed_keys_of(tenant=request.tenant, user=request.user)
    context = {
        "keys": [present(key) for key in found],
        "failed": [present(key) for key in failed],
        "exports": exporting.under_way(request),
    }
    return render(request, "keys/list.html", context)


@portal_view("GET", "POST", action=MemberPermission.CREATE_KEY)
def create(request: PortalRequest) -> HttpResponse:
    """Make a new key in one of the offered ways of keeping."""
    choices = choices_for(request.tenant)
    again = {name: request.GET[name] for name in ("name", "choice") if name in request.GET}
    form = CreateKeyForm(request.POST or None, choices=form_options(choices), initial=again)
    if request.method == "POST" and form.is_valid():
        chosen = chosen_offer(choices, form)
        key = services.create_key(
            actor=actor_of(request),
            tenant=request.tenant,
            user=request.user,
            name=form.cleaned_data["name"],
            key_mode=chosen.key_mode,
            provider=chosen.provider,
        )
        tell_made(request, key, "Your key is ready. Next: connect an app to it.")
        return to_key(key)
    return form_page(request, "keys/create.html", {"form": form, "choices": choices, "table": table_rows(choices)})


def tell_made(request: PortalRequest, key: PersonalKey, text: str) -> None:
    if key.state == KeyState.ACTIVE:
        messages.success(request, text)


def chosen_offer(choices: list[KeyModeChoice], form: CreateKeyForm) -> ModeOffer:
    return next(choice.offer for choice in choices if choice.value == form.cleaned_data["choice"])


def form_page(request: PortalRequest, template: str, context: dict[str, object]) -> HttpResponse:
    return render(request, template, context, status=422 if request.method == "POST" else 200)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def detail(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """One key: what it is, which apps use it, what can be done with it."""
    key = _own_or_failed(request, key_id)
    context = {
        "key": present(key),
        "rename_form": KeyNameForm(initial={"name": key.name}),
        "panels": panels.rendered(request, key),
        "days": settings.KEY_DESTRUCTION_DAYS,
        **converting.shown(key),
        **succession.shown(key),
        **replacing.shown(key),
        **cosigner_record.shown(key),
        **exporting.shown(key),
    }
    return render(request, "keys/detail.html", context)


def _own_or_failed(request: PortalRequest, key_id: UUID) -> PersonalKey:
    try:
        return own_key(request, key_id)
    except KeyNotFound:
        return failed_key_of(tenant=request.tenant, user=request.user, key_id=key_id)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def progress(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Asked by htmx while a key is in the making: 204 while there is no news, else the page is to be loaded again."""
    key = _own_or_failed(request, key_id)
    if not request.htmx:
        return to_key(key)
    if key.state == KeyState.PENDING:
        return HttpResponse(status=204)
    return HttpResponse(status=200, headers={"HX-Refresh": "true"})


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def remove(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Put a key that could not be made out of sight."""
    key = failed_key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    services.remove_failed_key(actor=actor_of(request), key=key)
    messages.success(request, "Removed.")
    return redirect("keys:list")


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def rename(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Give the key another name."""
    key = own_key(request, key_id)
    form = KeyNameForm(request.POST)
    if form.is_valid():
        services.rename_key(actor=actor_of(request), key=key, name=form.cleaned_data["name"])
        messages.success(request, "The key has its new name.")
    else:
        messages.error(request, "The name was not changed: give one of at most 100 characters.")
    return to_key(key)


@portal_view("POST", action=MemberPermission.LOCK_KEY)
def lock(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Refuse every app of this key until it is unlocked."""
    key = own_key(request, key_id)
    services.lock_key(actor=actor_of(request), key=key)
    messages.success(request, "Locked. No app can use this key until you unlock it.")
    return to_key(key)


@portal_view("POST", action=MemberPermission.LOCK_KEY)
def unlock(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Let the key's apps go on, after a fresh proof: a stolen session is what it may have been locked for."""
    key = own_key(request, key_id)
    if detour := prove(request, back_to=reverse("keys:detail", args=[key.id])):
        return detour
    services.unlock_key(actor=actor_of(request), key=key)
    messages.success(request, "Unlocked. Your apps can use this key again.")
    return to_key(key)


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def enable(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Put a disabled key back to use, after a fresh proof."""
    key = own_key(request, key_id)
    if detour := prove(request, back_to=reverse("keys:detail", args=[key.id])):
        return detour
    services.enable_key(actor=actor_of(request), key=key)
    messages.success(request, "The key is in use again.")
    return to_key(key)


@portal_view("GET", "POST", action=MemberPermission.MANAGE_KEY)
def destroy(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Schedule the key's destruction: fresh re-authentication, and the key's name typed out."""
    key = own_key(request, key_id)
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    form = DestroyForm(request.POST or None, key_name=key.name)
    if request.method == "POST" and form.is_valid():
        services.schedule_destruction(actor=actor_of(request), key=key)
        messages.success(request, "The key is out of use now. Until the day shown you can still keep it.")
        return to_key(key)
    return form_page(
        request, "keys/destroy.html", {"key": present(key), "form": form, "days": settings.KEY_DESTRUCTION_DAYS}
    )


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def keep(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Cancel a scheduled destruction."""
    key = own_key(request, key_id)
    services.cancel_destruction(actor=actor_of(request), key=key)
    messages.success(request, "The key is kept. It stays out of use until you put it back to use.")
    return to_key(key)
