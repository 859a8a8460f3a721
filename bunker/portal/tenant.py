"""Which policies and relays a tenant offers for new apps, chosen by its owners and administrators."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, portal_view
from accounts.portal.tenant import change, page, saved, settings_proof
from accounts.quotas import Quota, limit_of, used
from accounts.signin.stepup import take_form_data
from bunker import services
from bunker.policy import TEMPLATES
from bunker.portal.forms import PoliciesForm, RelaysForm


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def policies(request: PortalRequest) -> HttpResponse:
    """Offered and first policy; apps that are connected keep what they were granted."""
    tenant = request.tenant
    offered = [template.slug for template in services.policies_of(tenant)]
    initial = {"policies": offered, "default_policy": services.default_policy_of(tenant)}
    form = PoliciesForm(request.POST or None, initial=take_form_data(request, request.path) or initial)
    if request.method == "POST" and form.is_valid():
        if detour := settings_proof(request, form):
            return detour
        chosen = form.cleaned_data["policies"]
        listed = [] if len(chosen) == len(TEMPLATES) else chosen
        if change(request, form, policies=listed, default_policy=form.cleaned_data["default_policy"]):
            return saved(request, "apps:settings_policies")
    return page(request, "tenant/policies.html", form, templates=TEMPLATES.values())


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def relays(request: PortalRequest) -> HttpResponse:
    """Relays beside the built-in one in new bunker URLs."""
    tenant = request.tenant
    kept = (take_form_data(request, request.path) or {}).get("relays", tenant.relays)
    form = RelaysForm(request.POST or None, initial={"relays": "\n".join(kept)})
    if request.method == "POST" and form.is_valid():
        if detour := settings_proof(request, form):
            return detour
        if change(request, form, relays=form.cleaned_data["relays"]):
            return saved(request, "apps:settings_relays")
    more = {
        "built_in": services.built_in_relay_url(tenant),
        "common": settings.OUTBOUND_RELAYS,
        "limit": limit_of(tenant, Quota.RELAYS),
        "used": used(tenant, Quota.RELAYS),
    }
    return page(request, "tenant/relays.html", form, **more)
