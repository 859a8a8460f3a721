"""Which ways of keeping keys a tenant offers, chosen by its owners and administrators among those there are."""

from __future__ import annotations

from django.http import HttpResponse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, portal_view
from accounts.portal.stepup import step_up
from accounts.portal.tenant import change, page, saved
from keys.lifecycle.tenants import deployment_offers
from keys.portal.choices import KeyModeChoice, table_rows
from keys.portal.forms import ModesForm


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def modes(request: PortalRequest) -> HttpResponse:
    """Offered and default key modes; keys that exist stay as they are."""
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    tenant = request.tenant
    choices = [KeyModeChoice(f"{offer.key_mode}:{offer.provider}", offer) for offer in deployment_offers()]
    initial = {"key_modes": tenant.key_modes, "default_key_mode": tenant.default_key_mode}
    form = ModesForm(request.POST or None, initial=initial, choices=choices, now=tenant.key_modes)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        if change(request, form, key_modes=data["key_modes"], default_key_mode=data["default_key_mode"]):
            return saved(request, "keys:settings")
    shown = [choice for choice in choices if choice.offer.is_available or choice.offer.key_mode in tenant.key_modes]
    return page(request, "tenant/modes.html", form, choices=choices, shown=shown, table=table_rows(shown))
