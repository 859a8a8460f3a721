"""A request that a second person decides on. Services are in accounts.staff.approvals.services."""

from __future__ import annotations

from django.db import models

from accounts.models.two_person_request import TwoPersonRequest


class ApprovalState(models.TextChoices):
    """Where a request stands; all but ``open`` are final."""

    OPEN = "open", "Open"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    WITHDRAWN = "withdrawn", "Withdrawn"
    EXPIRED = "expired", "Expired"


class Approval(TwoPersonRequest):
    """What somebody asked for, for what reason, and what another person made of it. Rows are never removed."""

    State = ApprovalState

    kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64, blank=True)
    parameters = models.JSONField(default=dict)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of kind, target and parameters.")
    description = models.CharField(max_length=300, help_text="What is to happen, in words, as it was when asked.")
    state = models.CharField(max_length=16, choices=ApprovalState, default=ApprovalState.OPEN)
    decision_reason = models.CharField(max_length=200, blank=True)
    used_at = models.DateTimeField(null=True, blank=True, help_text="When the approval was spent; it is good for once.")

    class Meta:
        verbose_name = "request for approval"
        verbose_name_plural = "requests for approval"
        ordering = ("-asked_at",)
        constraints = (
            models.UniqueConstraint(
                name="approval_open_once", fields=["fingerprint"], condition=models.Q(state=ApprovalState.OPEN.value)
            ),
            models.CheckConstraint(
                name="approval_state_known",
                condition=models.Q(state__in=["open", "approved", "denied", "withdrawn", "expired"]),
            ),
            models.CheckConstraint(
                name="approval_decided_when_closed",
                condition=models.Q(state="open", decided_at__isnull=True) | models.Q(decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="approval_by_another_person",
                condition=~models.Q(state__in=["approved", "denied"])
                | models.Q(decided_by__isnull=False) & ~models.Q(decided_by=models.F("asked_by")),
            ),
            models.CheckConstraint(
                name="approval_used_when_approved",
                condition=models.Q(used_at__isnull=True) | models.Q(state="approved"),
            ),
        )

    def __str__(self) -> str:
        return self.description

    def why_closed(self) -> str:
        if self.state == ApprovalState.OPEN:
            return "This request has expired. Ask again."
        by = f" by {self.decided_by.email}" if self.decided_by else ""
        return f"This request is closed: {ApprovalState(self.state).label.lower()}{by}."
