"""A tenant's settings, for its own owners and administrators. Staff have the admin; neither reaches the other's."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts import services
from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import prove, step_up
from accounts.portal.tenant_changes import recent_changes
from accounts.portal.tenant_forms import BrandingForm, RegistrationForm
from accounts.quotas import usage_of
from accounts.selectors import domains_of
from accounts.signin.stepup import take_form_data
from keycast.base.errors import KeycastError

DEFAULT_COLOUR = "#1d5c58"


@portal_view("GET", action=MemberPermission.CHANGE_TENANT)
def overview(request: PortalRequest) -> HttpResponse:
    """What is settled, how much of each limit is used, and who changed what lately."""
    context = {
        "usages": usage_of(request.tenant),
        "domains": domains_of(request.tenant),
        "changes": recent_changes(request.tenant),
    }
    return render(request, "tenant/overview.html", context)


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def branding(request: PortalRequest) -> HttpResponse:
    """Name and colour."""
    tenant = request.tenant
    initial = {"name": tenant.name, "has_colour": bool(tenant.accent), "accent": tenant.accent or DEFAULT_COLOUR}
    form = BrandingForm(request.POST or None, initial=take_form_data(request, request.path) or initial)
    if request.method == "POST" and form.is_valid():
        if detour := settings_proof(request, form):
            return detour
        changes = {"name": form.cleaned_data["name"], "accent": form.cleaned_data["accent"]}
        if change(request, form, **changes):
            return saved(request, "portal:settings_look")
    return page(request, "tenant/look.html", form)


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def registration(request: PortalRequest) -> HttpResponse:
    """Who may join; opening a place to everybody takes a fresh proof."""
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    form = RegistrationForm(request.POST or None, initial={"registration": request.tenant.registration})
    if (
        request.method == "POST"
        and form.is_valid()
        and change(request, form, registration=form.cleaned_data["registration"])
    ):
        return saved(request, "portal:settings_registration")
    return page(request, "tenant/registration.html", form)


def settings_proof(request: PortalRequest, form: forms.Form) -> HttpResponse | None:
    """The way to a fresh proof before a tenant's settings change, with what was typed kept; None when there is one."""
    return prove(request, back_to=request.path, values=form.cleaned_data)


def change(request: PortalRequest, form: forms.Form, **changes: object) -> bool:
    """Change the tenant in the person's name; a refusal goes to the form. Whether it was changed."""
    try:
        services.change_tenant(actor=actor_of(request), tenant=request.tenant, by=request.membership, **changes)
    except KeycastError as refused:
        form.add_error(None, refused.public_message)
        return False
    return True


def saved(request: PortalRequest, address: str) -> HttpResponse:
    """Back to the form, which now shows what is settled."""
    messages.success(request, "Saved. It holds from now on.")
    return redirect(reverse(address))


def page(request: PortalRequest, template: str, form: forms.Form, **more: object) -> HttpResponse:
    """A page with a form; 422 where the form was refused."""
    return render(request, template, {"form": form, **more}, status=422 if form.is_bound else 200)
