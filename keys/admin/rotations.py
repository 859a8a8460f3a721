"""Rotations for staff: what is rotating and what has, starting one for every key or a tenant's, ending one."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import Tenant
from accounts.staff.confirmation import ConfirmationStep, confirmed
from accounts.staff.model_admin import ReadOnlyAdmin, StaffAction
from accounts.staff.pages import staff_page
from accounts.staff.roles import StaffPermission, may
from keycast.audit.entries import Actor
from keys.models import Rotation, RotationState
from keys.rotation import services
from keys.rotation.errors import UnknownRotation, WrongScope
from keys.rotation.protocol import RotationKind
from keys.rotation.registry import kind_of, kinds
from keys.rotation.scope import RotationScope

_CSS_CLASSES: Final = {RotationState.DONE: "good", RotationState.FAILED: "bad", RotationState.CANCELLED: "quiet"}
_COUNTS: Final = "Counts what would change, and changes nothing."
_BEGINS: Final = (
    "Jobs do it, row by row, while everybody goes on signing. It can be cancelled; see docs/key-rotation.md."
)
SHOWN: Final = 100


@admin.register(Rotation)
class RotationAdmin(ReadOnlyAdmin[Rotation]):
    list_display = ("what", "scope_name", "stands", "progress", "rate_and_rest", "begun")
    list_filter = ("state",)
    sortable_by = ()
    ordering = ("-created_at",)
    change_list_template = "admin/keys/rotations.html"
    fields = (
        *("what", "scope_name", "stands", "progress", "rate_and_rest", "problem", "asked_by"),
        *("created_at", "started_at", "ended_at", "passes", "notes", "failures"),
    )
    staff_actions = (
        StaffAction(
            "cancel",
            "Cancel",
            "Ends it where it is. What it has done stays done, and every key stays usable.",
            lambda actor, row, reason: services.cancel(actor=actor, rotation=row, reason=reason),
            lambda row: row.state in services.UNFINISHED,
            permission=StaffPermission.OPERATE,
        ),
        StaffAction(
            "resume",
            "Go on",
            "Tries again what failed or was left; nothing that is done is done twice.",
            lambda actor, row, reason: services.resume(actor=actor, rotation=row, reason=reason),
            lambda row: row.state in {RotationState.FAILED, RotationState.CANCELLED} and not row.is_dry_run,
            permission=StaffPermission.OPERATE,
        ),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        offered = [kind for kind in kinds() if "all" in kind.scopes]
        more = {"title": "Rotations", "kinds": offered, "may_start": may(request.user, StaffPermission.OPERATE)}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    @admin.display(description="what")
    def what(self, row: Rotation) -> str:
        title = _title(row.kind)
        return f"{title} (counted only)" if row.is_dry_run else title

    @admin.display(description="for")
    def scope_name(self, row: Rotation) -> SafeString | str:
        kind, _, identifier = row.scope.partition(":")
        if kind == "all":
            return "every key"
        page = "admin:keys_personalkey_change" if kind == "key" else "admin:accounts_tenant_change"
        return format_html('{} <a href="{}">{}</a>', kind, reverse(page, args=[identifier]), identifier[:8])

    @admin.display(description="state")
    def stands(self, row: Rotation) -> SafeString:
        state = RotationState(row.state)
        waits = f", waits: {row.problem}" if row.problem else ""
        return format_html('<span class="{}">{}{}</span>', _CSS_CLASSES.get(state, "warn"), state.label, waits)

    @admin.display(description="done")
    def progress(self, row: Rotation) -> str:
        found = services.progress(row)
        failed = f", {found.failed} failed" if found.failed else ""
        return f"{row.total} would change" if row.is_dry_run else f"{found.done} of {found.total}{failed}"

    @admin.display(description="pace")
    def rate_and_rest(self, row: Rotation) -> str:
        found = services.progress(row)
        if found.rate_per_second is None or found.seconds_left is None:
            return f"took {services.seconds_of(row):.0f} s" if row.ended_at and not row.is_dry_run else ""
        return f"{found.rate_per_second:.0f} a second, {found.seconds_left:.0f} s left"

    @admin.display(description="asked for")
    def begun(self, row: Rotation) -> str:
        return f"{row.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="asked by")
    def asked_by(self, row: Rotation) -> str:
        return str(row.started_by.get("label", ""))

    @admin.display(description="what to do next")
    def notes(self, row: Rotation) -> SafeString | str:
        said = [row.report["message"]] if "message" in row.report else []
        lines = [*said, *row.report.get("notes", ())]
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or "nothing"

    @admin.display(description="failures")
    def failures(self, row: Rotation) -> SafeString | str:
        found = row.report.get("failures", ())[:SHOWN]
        page = "admin:keys_personalkey_change"
        lines = ((reverse(page, args=[each["key"]]), each["key"], each["message"], each["code"]) for each in found)
        return format_html_join("", '<div><a href="{}">{}</a>: {} ({})</div>', lines) or "none"


@staff_page("rotations/<slug:kind>/<slug:way>/", "start_rotation", StaffPermission.OPERATE)
def start_view(request: HttpRequest, kind: str, way: str) -> HttpResponse:
    """Begin a rotation for every key, or with ``?tenant=slug`` for a tenant's; or count what it would change."""
    chosen, tenant = _offered(kind), _tenant(request)
    if way not in {"start", "count"}:
        raise Http404
    scope = RotationScope.of_tenant(tenant) if tenant else RotationScope.everything()
    whom = f"every key of {tenant.name}" if tenant else "every key of this deployment"

    def begin(reason: str) -> str:
        actor = Actor.staff(request.user)  # type: ignore[arg-type]
        if scope.kind not in chosen.scopes:
            raise WrongScope
        row = services.start(actor=actor, kind=chosen.slug, scope=scope, dry_run=way == "count", reason=reason)
        return f"{row.total} would change." if row.is_dry_run else "It has begun. This page shows how far it is."

    word = "Count" if way == "count" else "Begin"
    step = ConfirmationStep(word, _COUNTS if way == "count" else _BEGINS, needs_proof=way == "start")
    context = {**admin.site.each_context(request), "opts": Rotation._meta, "original": whom}
    back = reverse("admin:keys_rotation_changelist")
    return confirmed(request, title=f"{chosen.title}: {whom}", step=step, do=begin, back=back, context=context)


def _title(slug: str) -> str:
    try:
        return kind_of(slug).title
    except UnknownRotation:
        return slug


def _offered(slug: str) -> RotationKind:
    try:
        found = kind_of(slug)
    except UnknownRotation:
        raise Http404 from None
    if "all" not in found.scopes:
        raise Http404
    return found


def _tenant(request: HttpRequest) -> Tenant | None:
    slug = request.GET.get("tenant", "")
    if not slug:
        return None
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise Http404
    return found
