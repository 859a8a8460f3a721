"""Landing page and account security."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from accounts.models import Tenant
from accounts.portal.access import PortalRequest, portal_view
from accounts.portal.overview import recent_sign_ins, security_overview
from accounts.support.selectors import support_views_of


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this place is, for visitors; members go straight to their keys."""
    tenant: Tenant | None = getattr(request, "tenant", None)
    if tenant is None:
        raise Http404
    if request.user.is_authenticated:
        return redirect("keys:list")
    return render(request, "portal/landing.html", {"may_sign_up": tenant.registration == Tenant.Registration.OPEN})


@portal_view("GET")
def security(request: PortalRequest) -> HttpResponse:
    """How the account is protected, and who signed in lately."""
    context = {
        "overview": security_overview(request.user),
        "sign_ins": recent_sign_ins(request.tenant, request.user),
        "looks": support_views_of(request.membership),
    }
    return render(request, "portal/security.html", context)
