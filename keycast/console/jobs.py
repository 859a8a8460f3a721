"""The dashboard's live part, and the pages about background jobs."""

from __future__ import annotations

from django.contrib.admin import site
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.staff.confirmation import ConfirmationStep, confirmed
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound
from keycast.console import overview
from keycast.operations import job_control

LIVE = "X-Keycast-Live"
"""Marks an answer as a fragment: a page's script takes nothing else, in particular no sign-in page."""


@staff_page("live/", "live", StaffPermission.VIEW)
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """What changes on the dashboard, without the page around it."""
    context = {"overview": overview.collect(overview.OverviewFilter.of(request.GET))}
    response = TemplateResponse(request, "admin/overview/live.html", context)
    response[LIVE] = "1"
    return response


@staff_page("jobs/", "jobs", StaffPermission.VIEW)
@require_GET
def jobs(request: HttpRequest) -> HttpResponse:
    """Schedules, the queue, and the newest runs."""
    context = {
        **site.each_context(request),
        "title": "Background jobs",
        "schedules": job_control.schedules(),
        "queue": job_control.state_of_queue(),
        "runs": job_control.newest_runs(only_failed=request.GET.get("show") == "failed"),
        "only_failed": request.GET.get("show") == "failed",
        "may_run": may(request.user, StaffPermission.OPERATE),
    }
    return TemplateResponse(request, "admin/jobs/list.html", context)


@staff_page("jobs/<slug:slug>/run/", "job_run", StaffPermission.OPERATE)
def run(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask for the reason (GET), then put the job into the queue (POST)."""
    try:
        job = job_control.schedule(slug)
    except NotFound:
        raise Http404 from None

    def do(reason: str) -> str:
        job_control.run_now(actor=Actor.staff(request.user), slug=slug, reason=reason)  # type: ignore[arg-type]
        return f"Put into the queue: {job.name}. It runs as soon as a process is free."

    return confirmed(
        request,
        title=f"Run now: {job.name}",
        step=ConfirmationStep(
            "Run now", f"{job.what}. It runs {job.every} by itself, and may run once more at any time."
        ),
        do=do,
        back=reverse("admin:jobs"),
        context=site.each_context(request),
    )
