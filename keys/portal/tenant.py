"""Which ways of keeping keys a tenant offers, and whether they may leave, chosen by its owners and administrators."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, portal_view
from accounts.portal.stepup import step_up
from accounts.portal.tenant import change, page, saved
from keys.exporting.rules import DEFAULT_WAIT_HOURS
from keys.lifecycle.tenants import deployment_offers
from keys.portal.choices import choice_of, table_rows
from keys.portal.forms import ModesForm


@portal_view("GET", "POST", action=MemberPermission.CHANGE_TENANT)
def modes(request: PortalRequest) -> HttpResponse:
    """Offered and default key modes, for keys that are made; and whether encrypted keys may be exported, for all."""
    detour = step_up(request, back_to=request.path)
    if detour is not None:
        return detour
    tenant = request.tenant
    choices = [choice_of(tenant, offer) for offer in deployment_offers()]
    hours = tenant.export_wait_hours
    initial = {
        "key_modes": tenant.key_modes,
        "default_key_mode": tenant.default_key_mode,
        "exports": hours is not None,
        "export_wait_hours": DEFAULT_WAIT_HOURS if hours is None else hours,
    }
    form = ModesForm(request.POST or None, initial=initial, choices=choices, now=tenant.key_modes)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        names = ("key_modes", "default_key_mode", "export_wait_hours")
        if change(request, form, **{name: data[name] for name in names}):
            return saved(request, "keys:settings")
    shown = [choice for choice in choices if choice.offer.is_available or choice.offer.key_mode in tenant.key_modes]
    more = {"choices": choices, "shown": shown, "table": table_rows(shown), "allows_exports": settings.KEY_EXPORT}
    return page(request, "tenant/modes.html", form, **more)
