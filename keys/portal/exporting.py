"""The way out, as its owner sees it: what an export means, asking, waiting, cancelling, the sheet to print.

A request is bound to the browser that asked: half of what is compared lies in its session, half in a cookie that is
sent to these pages of this key alone. Who has a copy of the session's cookie has not that one.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.password_validation import validate_password
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.qr import qr_data_uri
from accounts.portal.stepup import step_up
from keycast.base.errors import NotFound
from keys.errors import CustodyError
from keys.exporting import notices, rules, services
from keys.models import KeyExport, KeyState, PersonalKey
from keys.models.exports import OPEN
from keys.portal.presenting import npub, present
from keys.selectors import key_of

_COOKIE: Final = "__Secure-key-export" if settings.SESSION_COOKIE_SECURE else "key-export"
_ATTRS: Final = {"autocomplete": "new-password", "autocapitalize": "none", "spellcheck": "false"}


class AskForm(forms.Form):
    """One tick: that it was understood."""

    understood = forms.BooleanField(
        label="I understand that whoever has the copy and its password is me, for ever.",
        error_messages={"required": "Please confirm this first."},
    )


class PasswordForm(forms.Form):
    """The password of the copy, twice; never put back on the page."""

    password = forms.CharField(
        label="Password of the copy",
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(render_value=False, attrs=_ATTRS),
        help_text="At least 12 characters, used nowhere else. Nobody can reset it.",
    )
    again = forms.CharField(
        label="Once more",
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(render_value=False, attrs=_ATTRS),
    )

    def __init__(self, *args: Any, owner: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner = owner

    def clean_password(self) -> str:
        typed: str = self.cleaned_data["password"]
        if len(typed) < 12:
            raise forms.ValidationError("Take at least 12 characters: guesses at a copy cost no more than patience.")
        if self._owner.check_password(typed):
            raise forms.ValidationError("This is the password of your account. Take another one.")
        validate_password(typed, self._owner)
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password") and cleaned.get("again") != cleaned["password"]:
            self.add_error("again", "The two are not the same.")
        return cleaned


def shown(key: PersonalKey) -> dict[str, Any]:
    """For the key's page: what is under way, and whether an export is offered, or why not."""
    if key.state != KeyState.ACTIVE:
        return {}
    no_export = rules.why_not(key.tenant, key.key_mode, key.hsm_provider)
    return {"export": _open(key), "offers_export": not no_export, "no_export": no_export}


def under_way(request: PortalRequest) -> list[KeyExport]:
    """Every export of the person's keys here that waits, for their list of keys."""
    found = KeyExport.objects.filter(key__tenant=request.tenant, key__user=request.user, state__in=OPEN)
    return list(found.select_related("key"))


def _open(key: PersonalKey) -> KeyExport | None:
    return KeyExport.objects.filter(key=key, state__in=OPEN).first()


@portal_view("GET", "POST", action=MemberPermission.MANAGE_KEY)
def export(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """What an export is and where it stands; POST asks for one, after a fresh proof."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    services.settle(key.id)
    form = AskForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        detour = step_up(request, back_to=request.path)
        if detour is not None:
            messages.info(request, "First a fresh proof that it is you; then press the button once more.")
            return detour
        return _ask(request, key)
    return _page(request, key, form, status=422 if request.method == "POST" else 200)


def _ask(request: PortalRequest, key: PersonalKey) -> HttpResponse:
    in_session, in_cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    services.ask(actor=actor_of(request), key=key, session_hash=_hash(in_session, in_cookie))
    request.session[_name(key)] = in_session
    messages.success(request, "Asked for. A mail with a way to cancel it is on its way to you.")
    response = redirect("keys:export", key_id=key.id)
    response.set_cookie(
        _COOKIE,
        in_cookie,
        max_age=settings.SESSION_COOKIE_AGE,
        path=reverse("keys:export", args=[key.id]),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


def _page(request: PortalRequest, key: PersonalKey, form: AskForm, status: int = 200) -> HttpResponse:
    going = _open(key)
    hours = rules.wait_hours(request.tenant)
    context = {
        "key": present(key),
        "form": form,
        "export": going,
        "is_due": going is not None and timezone.now() >= going.due_at,
        "is_here": going is not None and going.session_hash == _bound(request, key),
        "hours": hours,
        "no_export": rules.why_not(key.tenant, key.key_mode, key.hsm_provider),
        "has_second_factor": rules.has_second_factor(request.user),
    }
    return render(request, "keys/export.html", context, status=status)


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def cancel(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Cancel it. It is safe, so it asks for nothing more."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    try:
        services.cancel(actor=actor_of(request), key=key, reason="By its owner, in the portal.")
    except CustodyError as refused:
        messages.error(request, refused.public_message)
    else:
        messages.success(request, "Cancelled. Nothing was given out.")
    return redirect("keys:detail", key_id=key.id)


@portal_view("GET", "POST", action=MemberPermission.MANAGE_KEY)
def take(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Choose a password, and get the copy: once, in the browser that asked, after a fresh proof."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    if _open(key) is None:
        return redirect("keys:export", key_id=key.id)
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    form = PasswordForm(request.POST or None, owner=request.user)
    if request.method == "POST" and form.is_valid():
        return _sheet(request, key, form.cleaned_data["password"])
    status = 422 if request.method == "POST" else 200
    return render(request, "keys/export_take.html", {"key": present(key), "form": form}, status=status)


def _sheet(request: PortalRequest, key: PersonalKey, password: str) -> HttpResponse:
    bound = _bound(request, key)
    ncryptsec = services.take(actor=actor_of(request), key=key, session_hash=bound, password=password)
    request.session.pop(_name(key), None)
    context = {
        "key": present(key),
        "ncryptsec": ncryptsec,
        "npub": npub(key.public_key),
        "qr": qr_data_uri(ncryptsec),
        "now": timezone.now(),
    }
    response = render(request, "keys/recovery_sheet.html", context)
    response.delete_cookie(_COOKIE, path=reverse("keys:export", args=[key.id]), samesite="Lax")
    return response


def cancel_by_mail(request: HttpRequest, token: str) -> HttpResponse:
    """Ask once on GET, for mail programs open addresses by themselves; cancel on POST, signed in or not."""
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        raise Http404
    if request.method not in {"GET", "HEAD", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    try:
        if request.method == "POST":
            services.cancel_by_mail(tenant=tenant, token=token)
            return redirect(request.path)
        named = notices.named_by(tenant, token)
    except NotFound as missing:
        raise Http404 from missing
    return render(request, "keys/export_by_mail.html", {"export": named, "is_open": named.state in OPEN})


def _bound(request: PortalRequest, key: PersonalKey) -> str:
    """What this browser has, as it was hashed when it asked; something that fits no request if it did not."""
    in_session, in_cookie = request.session.get(_name(key)), request.COOKIES.get(_COOKIE)
    return _hash(in_session, in_cookie) if in_session and in_cookie else ""


def _hash(in_session: str, in_cookie: str) -> str:
    return hashlib.sha256(f"{in_session} {in_cookie}".encode()).hexdigest()


def _name(key: PersonalKey) -> str:
    return f"export-{key.id.hex}"
