"""Requests for approval in the admin: what waits, who asked and why, and the decision. The list is the history."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models.approvals import Approval, ApprovalState
from accounts.staff.approvals import services
from accounts.staff.approvals.kinds import kind_of
from accounts.staff.approvals.selectors import is_open, may_decide
from accounts.staff.model_admin import ReadOnlyAdmin, StaffAction
from accounts.staff.roles import StaffPermission
from keycast.base.errors import KeycastError, NotFound

_WITHDRAW = "withdraw"


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin[Approval]):
    """Everybody who may see the admin sees requests; those with the duty decide, never on their own."""

    change_list_template = "admin/approvals.html"
    list_display = ("description", "asked_by", "reason", "asked_at", "standing", "decided_by")
    list_filter = ("state",)
    list_select_related = ("asked_by", "decided_by")
    search_fields = ("description",)
    ordering = ("-asked_at",)
    fields = (
        *("description", "what", "target", "asked_by", "reason", "asked_at", "expires_at", "standing"),
        *("decided_by", "decided_at", "decision_reason"),
    )
    staff_actions = (
        StaffAction(
            "approve",
            "Approve",
            "It happens now, and in both your names. Approve only what you have checked yourself.",
            lambda actor, row, reason: services.approve(actor=actor, approval=row, reason=reason),
            is_open,
            is_dangerous=True,
            permission=StaffPermission.APPROVE,
            step_up=True,
        ),
        StaffAction(
            "deny",
            "Deny",
            "Nothing happens. Who asked can ask again.",
            lambda actor, row, reason: services.deny(actor=actor, approval=row, reason=reason),
            is_open,
            permission=StaffPermission.APPROVE,
            step_up=True,
        ),
        StaffAction(
            _WITHDRAW,
            "Withdraw",
            "Takes your own request back; nothing happens.",
            lambda actor, row, reason: services.withdraw(actor=actor, approval=row, reason=reason),
            is_open,
            permission=StaffPermission.VIEW,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        return super().get_queryset(request).select_related("asked_by", "decided_by")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), "title": "Requests for approval"})

    def staff_actions_for(self, request: HttpRequest, row: Approval) -> list[StaffAction[Approval]]:
        """Deciding is for others than who asked, withdrawing for who asked alone."""
        is_own = row.asked_by_id == request.user.pk
        decides = may_decide(request.user, row)
        return [
            action
            for action in super().staff_actions_for(request, row)
            if (is_own if action.slug == _WITHDRAW else decides and not is_own)
        ]

    @admin.display(description="state", ordering="state")
    def standing(self, row: Approval) -> str:
        if row.state == ApprovalState.OPEN:
            left = row.expires_at - timezone.now()
            hours = int(left.total_seconds() // 3600)
            if left.total_seconds() <= 0:
                return ApprovalState.EXPIRED.label
            return f"Open, {hours} h left" if hours else "Open, less than an hour left"
        return str(ApprovalState(row.state).label)

    @admin.display(description="kind")
    def what(self, row: Approval) -> str:
        try:
            return kind_of(row.kind).title
        except NotFound:
            return row.kind

    @admin.display(description="concerns")
    def target(self, row: Approval) -> SafeString | str:
        """A link to what it is about, as far as it is still there."""
        try:
            kind = kind_of(row.kind)
            kind.describe(row.target_id, row.parameters)
            page = kind.page(row.target_id)
        except KeycastError as missing:
            return f"{row.target_id or '-'} ({missing.public_message})"
        return format_html('<a href="{}">{}</a>', page, "Look at it first") if page else row.target_id or "-"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Approval], search_term: str
    ) -> tuple[QuerySet[Approval], bool]:
        found: Any = super().get_search_results(request, queryset, search_term)
        return found[0], False
