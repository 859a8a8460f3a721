"""The admin's page for the deployment's own lock."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.admin import site
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.models import Tenant, User
from accounts.panic import services
from accounts.panic.selectors import deployment_lock
from accounts.staff.approvals.services import request_approval
from accounts.staff.confirmation import ConfirmationStep, confirmed
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor

SHOWN = 50


@staff_page("panic/", "panic", StaffPermission.VIEW)
@require_GET
def panic(request: HttpRequest) -> HttpResponse:
    """What is locked above the level of keys, and the way to lock everything."""
    context = {
        **site.each_context(request),
        "title": "Panic",
        "lock": deployment_lock(),
        "tenants": Tenant.objects.exclude(state=Tenant.State.ACTIVE).order_by("name")[:SHOWN],
        "people": User.objects.filter(locked_at__isnull=False).order_by("-locked_at")[:SHOWN],
        "may_panic": may(request.user, StaffPermission.PANIC),
    }
    return TemplateResponse(request, "admin/panic.html", context)


@staff_page("panic/lock/", "panic_lock", StaffPermission.PANIC)
def lock(request: HttpRequest) -> HttpResponse:
    """Lock the deployment: one person, a reason, a fresh proof."""

    def do(reason: str) -> str:
        services.lock_deployment(actor=Actor.staff(request.user), reason=reason)  # type: ignore[arg-type]
        return "The deployment is locked: nothing is signed for anybody."

    step = ConfirmationStep(
        "Lock the deployment",
        "Nothing is signed for anybody, in any tenant, within a second. The portals stay open. It loses nothing. "
        "It takes two persons to unlock.",
        is_dangerous=True,
        needs_proof=True,
    )
    return _confirmed(request, "Lock the deployment", step, do)


@staff_page("panic/unlock/", "panic_unlock", StaffPermission.PANIC)
def unlock(request: HttpRequest) -> HttpResponse:
    """Ask a second person to unlock it."""

    def do(reason: str) -> str:
        actor = Actor.staff(request.user)  # type: ignore[arg-type]
        request_approval(actor=actor, kind=services.UNLOCK_DEPLOYMENT, target_id="", reason=reason)
        return "Asked. Another person decides under Requests for approval."

    step = ConfirmationStep(
        "Unlock the deployment",
        "Signing goes on for everybody, under the locks below.",
        needs_proof=True,
        needs_approval=True,
    )
    return _confirmed(request, "Unlock the deployment", step, do)


def _confirmed(request: HttpRequest, title: str, step: ConfirmationStep, do: Callable[[str], str]) -> HttpResponse:
    return confirmed(
        request, title=title, step=step, do=do, back=reverse("admin:panic"), context=site.each_context(request)
    )
