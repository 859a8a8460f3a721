"""Staff pages about tenants: one is made, its limits are set, a host name is vouched for. All through services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import site
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts import services
from accounts.models import KeyMode, Tenant, User
from accounts.quotas import LABELS, Quota, bound, used
from accounts.services.tenants import MAX_QUOTA
from accounts.signin.stepup import is_fresh, keep, take_form_data, to_proof
from accounts.staff.confirmation import ConfirmationForm
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.lifecycle.tenants import available_modes

_TEXT = {"class": "vTextField", "autocomplete": "off"}


class NewTenantForm(forms.Form):
    """What a tenant begins with. Key modes that this deployment cannot serve are not to be chosen."""

    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs=_TEXT), help_text="What its people see.")
    slug = forms.CharField(
        max_length=63, widget=forms.TextInput(attrs=_TEXT), help_text="Lower-case letters, digits, hyphens. It stays."
    )
    host = forms.CharField(
        label="First host name", max_length=255, widget=forms.TextInput(attrs=_TEXT),
        help_text="Served at once: you vouch that it is theirs. More of them they prove themselves.",
    )  # fmt: skip
    owner = forms.EmailField(
        label="Owner's e-mail address", widget=forms.EmailInput(attrs=_TEXT),
        help_text="Gets an invitation by e-mail, good for seven days.",
    )  # fmt: skip
    registration = forms.ChoiceField(
        label="Who may join", choices=Tenant.Registration.choices, initial=Tenant.Registration.INVITATION
    )
    key_modes = forms.MultipleChoiceField(label="Key modes offered", widget=forms.CheckboxSelectMultiple)
    default_key_mode = forms.ChoiceField(label="Key mode offered first", choices=KeyMode.choices)
    field_order = ("name", "slug", "host", "owner")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        there = available_modes()
        choices = [(mode.value, mode.label) for mode in KeyMode if mode.value in there]
        self.fields["key_modes"] = forms.MultipleChoiceField(
            label="Key modes offered",
            choices=choices,
            widget=forms.CheckboxSelectMultiple,
            initial=[value for value, _ in choices[:1]],
        )
        self.fields["default_key_mode"] = forms.ChoiceField(label="Key mode offered first", choices=choices)


class QuotasForm(ConfirmationForm):
    """Limits by name; an empty field is the deployment's own limit."""

    field_order = (*(quota.value for quota in Quota), "reason")

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for quota in Quota:
            common = bound(None, quota)
            says = "no limit" if common is None else str(common)
            self.fields[quota.value] = forms.IntegerField(
                label=LABELS[quota].replace("today", "a day"),
                required=False,
                min_value=0,
                max_value=MAX_QUOTA,
                help_text=f"Now {used(tenant, quota)}. Empty: {says}, as for every tenant.",
            )
        self.order_fields(self.field_order)


class HostForm(ConfirmationForm):
    """A host name that staff vouch for."""

    host = forms.CharField(max_length=255, widget=forms.TextInput(attrs=_TEXT))
    field_order = ("host", "reason")


@staff_page("tenants/new/", "tenant_new", StaffPermission.MANAGE_TENANTS)
def new(request: HttpRequest) -> HttpResponse:
    """Make a tenant and invite its owner."""

    def do(values: dict[str, Any]) -> str:
        tenant = services.found_tenant(actor=_actor(request), **values)
        return f"{tenant.name} is there. Its owner has an invitation on the way to {values['owner']}."

    form = _form(request, NewTenantForm)
    return _confirmed_form(request, form, do, "New tenant", "Make it", reverse("admin:accounts_tenant_changelist"))


@staff_page("tenants/<uuid:tenant_id>/limits/", "tenant_quotas", StaffPermission.MANAGE_TENANTS)
def quotas(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """Set the limits of a tenant."""
    tenant = _tenant(tenant_id)
    now = {quota.value: getattr(tenant, f"max_{quota.value}") for quota in Quota}

    def do(values: dict[str, Any]) -> str:
        services.set_quotas(actor=_actor(request), tenant=tenant, **values)
        return f"The limits of {tenant.name} hold from now on."

    form = _form(request, QuotasForm, initial=now, tenant=tenant)
    return _confirmed_form(request, form, do, f"Limits: {tenant.name}", "Set the limits", _page_of(tenant))


@staff_page("tenants/<uuid:tenant_id>/host-name/", "tenant_host", StaffPermission.MANAGE_TENANTS)
def host(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """Vouch for a host name, which is served at once."""
    tenant = _tenant(tenant_id)

    def do(values: dict[str, Any]) -> str:
        domain = services.vouch_for_domain(actor=_actor(request), tenant=tenant, **values)
        return f"{domain.host} leads to {tenant.name} from now on."

    form = _form(request, HostForm)
    return _confirmed_form(request, form, do, f"Host name: {tenant.name}", "Vouch for it", _page_of(tenant))


def _form(request: HttpRequest, form_class: Any, initial: dict[str, Any] | None = None, **more: Any) -> forms.Form:
    """The form as posted, or with what was typed before the person proved who they are."""
    if request.method == "POST":
        form: forms.Form = form_class(request.POST, **more)
    else:
        form = form_class(initial=take_form_data(request, request.path) or initial, **more)
    return form


def _confirmed_form(
    request: HttpRequest, form: forms.Form, do: Callable[[dict[str, Any]], str], title: str, action: str, back: str
) -> HttpResponse:
    """Show the form; on POST ask for a fresh proof, then do it and go ``back``. A refusal is shown with the form."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 -- the admin's gate let nobody else in
    if request.method == "POST" and form.is_valid():
        if not is_fresh(request, user):
            keep(request, request.path, form.cleaned_data)
            return to_proof(user, request.get_full_path())
        try:
            messages.success(request, do(form.cleaned_data))
            return redirect(back)
        except KeycastError as refusal:
            form.add_error(None, refusal.public_message)
    context = {**site.each_context(request), "title": title, "form": form, "action": action, "back": back}
    return TemplateResponse(request, "admin/tenant_form.html", context)


def _tenant(tenant_id: UUID) -> Tenant:
    found = Tenant.objects.filter(id=tenant_id).first()
    if found is None:
        raise Http404
    return found


def _page_of(tenant: Tenant) -> str:
    return reverse("admin:accounts_tenant_change", args=[tenant.pk])


def _actor(request: HttpRequest) -> Actor:
    return Actor.staff(request.user)  # type: ignore[arg-type]
