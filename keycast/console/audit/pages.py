"""The pages themselves: the log, its verification, and the form by which rows are taken out."""

from __future__ import annotations

import base64
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from accounts.signin.stepup import is_fresh, keep, take_form_data, to_proof
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission, may
from keycast.audit import browser_exports, jobs, signing, triggers, verification_runs
from keycast.audit.browsing import AuditBrowsePage, browse
from keycast.audit.entries import Actor
from keycast.audit.models import AuditCheckpoint, AuditCut, AuditVerification
from keycast.audit.publishing import unpublished_since
from keycast.audit.selectors import BadCursor
from keycast.base.errors import KeycastError
from keycast.console.audit.query import AuditFilterForm, chains
from keycast.console.audit.rows import query_of, shown

SHOWN = 50


def log(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The log, as its filters and cursors say: behind the list page of AuditRow."""
    form = AuditFilterForm(request.GET)
    sheet, problem = AuditBrowsePage([]), ""
    if form.is_valid():
        question = form.question()
        problem = question.problem
        if not problem:
            try:
                sheet = browse(
                    filters=question.filters,
                    chain=question.chain,
                    before=request.GET.get("before", ""),
                    after=request.GET.get("after", ""),
                    limit=SHOWN,
                )
            except BadCursor as bad:
                problem = bad.public_message
    page = {
        **context,
        "form": form,
        "sheet": sheet,
        "rows": shown(sheet),
        "problem": problem,
        "is_filtered": any(request.GET.get(name) for name in form.fields),
        "older": query_of(request, before=sheet.older) if sheet.older else "",
        "newer": query_of(request, after=sheet.newer) if sheet.newer else "",
        "export_query": query_of(request),
        "may_export": may(request.user, StaffPermission.EXPORT_AUDIT),
    }
    return TemplateResponse(request, "admin/audit/log.html", page)


AGAIN_SECONDS = 5


@staff_page("audit/verification/", "audit_verification", StaffPermission.VIEW_AUDIT)
@require_safe
def verification(request: HttpRequest) -> HttpResponse:
    """What was verified when, with what result; checkpoints, cuts and the keys that sign them."""
    running = AuditVerification.objects.filter(state__in=verification_runs.OPEN).first()
    names = dict(chains())
    recent = list(AuditVerification.objects.all()[:10])
    signed = {
        "checkpoints": AuditCheckpoint.objects.order_by("-id")[:10],
        "cuts": AuditCut.objects.order_by("-id")[:10],
        "keys": [(base64.b64encode(key).decode()) for key in signing.trusted()],
        "is_configured": signing.is_configured(),
        "waiting_since": unpublished_since(),
    }
    page = {
        "running": running,
        "percent": min(99, 100 * running.rows // max(running.total, 1)) if running else 0,
        "last": verification_runs.last_finished(),
        "recent": [(run, names.get(run.chain, run.chain) or "All") for run in recent],
        "faults": [
            (fault, names.get(fault.chain, fault.chain))
            for run in recent[:1]
            for fault in verification_runs.faults_of(run)
        ],
        "unprotected": sorted(triggers.missing(connection)),
        "names": names,
        **signed,
    }
    answer = _page(request, "verification.html", "Verification of the audit log", **page)
    if running:  # the page comes again by itself until there is a result
        answer["Refresh"] = str(AGAIN_SECONDS)
    return answer


@staff_page("audit/verification/start/", "audit_verify", StaffPermission.VIEW_AUDIT)
@require_POST
def verify(request: HttpRequest) -> HttpResponse:
    """Have every chain verified from its beginning, in the background."""
    if request.POST.get("confirm") != "yes":
        return redirect("admin:audit_verification")
    try:
        jobs.begin(verification_runs.start(actor=_actor(request)))
    except KeycastError as refusal:
        messages.error(request, refusal.public_message)
    else:
        messages.success(request, "The log is being verified. This page shows how far it is.")
    return redirect("admin:audit_verification")


class ExportForm(AuditFilterForm):
    """The filters, one chain, and why."""

    reason = forms.CharField(
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Written to the audit log, where the tenant's owners can read it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chain = self.fields["chain"]
        assert isinstance(chain, forms.ChoiceField)  # noqa: S101 -- as AuditFilterForm has it
        chain.required, chain.choices = True, [("", "Choose one"), *chains()[1:]]


@staff_page("audit/export/", "audit_export", StaffPermission.EXPORT_AUDIT)
@require_http_methods(["GET", "HEAD", "POST"])
def export(request: HttpRequest) -> HttpResponseBase:
    """Rows of one chain as a file that proves itself; the second factor is proved afresh first."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 -- the admin's gate let nobody else in
    if request.method != "POST":
        form = ExportForm(initial=take_form_data(request, request.path) or request.GET.dict())
        return _page(request, "export.html", "Take out rows of the audit log", form=form)
    form = ExportForm(request.POST)
    if form.is_valid():
        if not is_fresh(request, user):
            keep(request, request.path, {name: request.POST.get(name, "") for name in form.fields})
            return to_proof(user, request.path)
        question = form.question()
        if question.problem:
            form.add_error("q", question.problem)
        else:
            return _exported(request, form)
    return _page(request, "export.html", "Take out rows of the audit log", form=form)


def _exported(request: HttpRequest, form: ExportForm) -> HttpResponseBase:
    question = form.question()
    reason = form.cleaned_data["reason"]
    try:
        within = browser_exports.begin(
            actor=_actor(request), chain=question.chain, filters=question.filters, reason=reason
        )
    except KeycastError as refusal:
        form.add_error(None, refusal.public_message)
        return _page(request, "export.html", "Take out rows of the audit log", form=form)
    return browser_exports.response(request, question.chain[:12], question.chain, question.filters, within)


def _actor(request: HttpRequest) -> Actor:
    return Actor.staff(request.user)  # type: ignore[arg-type]  # the admin's gate let nobody else in


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    frame = {**admin.site.each_context(request), "title": title}
    return TemplateResponse(request, f"admin/audit/{template}", {**frame, **context})
