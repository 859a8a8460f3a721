"""A tenant's host names: claimed, proved by DNS, made the primary one, removed; not without a fresh proof."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from accounts import domain_proofs, services
from accounts.models import TenantDomain
from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import step_up
from accounts.portal.tenant_forms import DomainForm
from accounts.selectors import domains_of, get_domain
from keycast.base.errors import KeycastError


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def domains(request: PortalRequest) -> HttpResponse:
    """The list, and the claim of another one."""
    if request.method == "GET":
        return _list_page(request, DomainForm())
    detour = step_up(request, back_to=reverse("portal:domains"))
    if detour is not None:
        return detour
    form = DomainForm(request.POST)
    if form.is_valid():
        try:
            domain = services.add_domain(
                actor=actor_of(request), tenant=request.tenant, host=form.cleaned_data["host"], by=request.membership
            )
        except KeycastError as refused:
            form.add_error("host", refused.public_message)
        else:
            return redirect("portal:domain", domain_id=domain.id)
    return _list_page(request, form, status=422)


def _list_page(request: PortalRequest, form: DomainForm, status: int = 200) -> HttpResponse:
    rows = [{"domain": domain, "has_run_out": _has_run_out(domain)} for domain in domains_of(request.tenant)]
    return render(request, "tenant/domains.html", {"form": form, "rows": rows}, status=status)


@portal_view("GET", action=MemberPermission.CHANGE_TENANT)
def domain(request: PortalRequest, domain_id: int) -> HttpResponse:
    """One host name: the record to make while it is not proved, or what can be done with it."""
    found = get_domain(request.tenant, domain_id)
    context = {
        "domain": found,
        "has_run_out": _has_run_out(found),
        "record_name": domain_proofs.record_name(found.host),
        "record_value": domain_proofs.record_value(found.token),
        "is_this_one": found.host == request.get_host().partition(":")[0],
    }
    return render(request, "tenant/domain.html", context)


@portal_view("POST", action=MemberPermission.CHANGE_TENANT)
def check(request: PortalRequest, domain_id: int) -> HttpResponse:
    """Look for the record now."""
    found = get_domain(request.tenant, domain_id)
    checked = services.check_domain(actor=actor_of(request), domain=found, by=request.membership)
    if checked.verified_at is not None:
        messages.success(request, f"{checked.host} is proved to be yours, and is served from now on.")
    else:
        messages.warning(request, f"Not proved yet. {checked.problem}")
    return redirect("portal:domain", domain_id=domain_id)


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def renew(request: PortalRequest, domain_id: int) -> HttpResponse:
    """Begin a claim again that has run out."""
    return _stepped_up(request, domain_id, services.renew_claim, "Begun again. Use the record that is shown now.")


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def make_primary(request: PortalRequest, domain_id: int) -> HttpResponse:
    """Give out addresses with this host name from now on."""
    done = "This is the primary host name now: it is in new invitations and bunker URLs."
    return _stepped_up(request, domain_id, services.make_domain_primary, done)


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def remove(request: PortalRequest, domain_id: int) -> HttpResponse:
    """Stop serving a host name, after a page that says what ends with it."""
    found = get_domain(request.tenant, domain_id)
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    if request.method == "GET":
        return render(request, "tenant/domain_remove.html", {"domain": found})
    services.remove_domain(actor=actor_of(request), domain=found, by=request.membership)
    messages.success(request, f"{found.host} is removed.")
    return redirect("portal:domains")


def _stepped_up(request: PortalRequest, domain_id: int, service: Callable[..., object], done: str) -> HttpResponse:
    """Do it on POST; a GET is somebody coming back from proving who they are, who presses the button once more."""
    found = get_domain(request.tenant, domain_id)
    here = reverse("portal:domain", args=[domain_id])
    detour = step_up(request, back_to=here)
    if detour is not None:
        return detour
    if request.method == "POST":
        service(actor=actor_of(request), domain=found, by=request.membership)
        messages.success(request, done)
    return redirect(here)


def _has_run_out(domain: TenantDomain) -> bool:
    return domain.verified_at is None and (domain.expires_at is None or domain.expires_at <= timezone.now())
