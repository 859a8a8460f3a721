"""Support's pages in the admin: name a tenant or a person and say why, then look for an hour."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Tenant, User
from accounts.models.support import SupportView
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission
from accounts.support.selectors import find, own_views
from accounts.support.services import close_view, is_in_force, open_view, view_in_force
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError, NotFound
from keycast.console.support import collect
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keys.errors import KeyNotFound
from keys.selectors import key_by_public_key


class SupportViewForm(forms.Form):
    """What to look at and why."""

    term = forms.CharField(
        label="Tenant or person",
        max_length=254,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
        help_text="A tenant's slug or host name, or a person's e-mail address or npub, in full.",
    )
    reason = forms.CharField(
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text="Such as the number of their ticket. The person and the owners of the tenant can read it.",
    )


@staff_page("support/", "support", StaffPermission.SUPPORT_VIEW)
@require_http_methods(["GET", "HEAD", "POST"])
def support(request: HttpRequest) -> HttpResponse:
    """The form, and what this member of staff looked at lately."""
    form = SupportViewForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        view = _opened(request, form)
        if view is not None:
            return redirect("admin:support_view", view.pk)
    views = [(view, is_in_force(view)) for view in own_views(_user(request))]
    return _page(request, "support.html", "Support view", form=form, views=views)


@staff_page("support/<uuid:view_id>/", "support_view", StaffPermission.SUPPORT_VIEW)
@require_safe
def support_view(request: HttpRequest, view_id: UUID) -> HttpResponse:
    """One view, while its time lasts and for whoever opened it."""
    try:
        view = view_in_force(actor=Actor.staff(_user(request)), view_id=view_id)
    except NotFound as closed:
        raise Http404(closed.public_message) from None
    return _page(request, "support_view.html", str(view.tenant or view.person), view=view, **collect(view))


@staff_page("support/<uuid:view_id>/close/", "support_close", StaffPermission.SUPPORT_VIEW)
@require_POST
def support_close(request: HttpRequest, view_id: UUID) -> HttpResponse:
    """Stop looking before the time is over."""
    actor = Actor.staff(_user(request))
    try:
        close_view(actor=actor, view=SupportView(pk=view_id))
    except NotFound as missing:
        raise Http404 from missing
    except KeycastError as refusal:
        messages.error(request, refusal.public_message)
    else:
        messages.success(request, "Closed.")
    return redirect("admin:support")


def _opened(request: HttpRequest, form: SupportViewForm) -> SupportView | None:
    """The view that was asked for; None, with the form saying why, where it cannot be."""
    subject = _subject(form.cleaned_data["term"])
    reason = form.cleaned_data["reason"]
    actor = Actor.staff(_user(request))
    if subject is None:
        form.add_error("term", "Nothing goes by exactly this name.")
        return None
    try:
        if isinstance(subject, Tenant):
            return open_view(actor=actor, tenant=subject, reason=reason)
        return open_view(actor=actor, person=subject, reason=reason)
    except KeycastError as refusal:
        form.add_error(None, refusal.public_message)
        return None


def _subject(term: str) -> Tenant | User | None:
    try:
        public_key_of(term.strip())
    except Nip19Error:
        return find(term)
    try:
        return key_by_public_key(term.strip()).user
    except KeyNotFound:
        return None


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    page = {**admin.site.each_context(request), "title": title, **context}
    return TemplateResponse(request, f"admin/{template}", page)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101 -- the admin's gate let nobody else in
    return request.user
