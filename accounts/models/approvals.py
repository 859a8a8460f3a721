"""A request that a second person decides on. Verbs live in accounts.staff.approvals.services."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class ApprovalState(models.TextChoices):
    """Where a request stands; all but ``open`` are final."""

    OPEN = "open", "Open"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    WITHDRAWN = "withdrawn", "Withdrawn"
    EXPIRED = "expired", "Expired"


class Approval(models.Model):
    """What somebody asked for, for what reason, and what another person made of it. Rows are never removed."""

    State = ApprovalState

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64, blank=True)
    parameters = models.JSONField(default=dict)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of kind, target and parameters.")
    description = models.CharField(max_length=300, help_text="What is to happen, in words, as it was when asked.")
    reason = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=ApprovalState, default=ApprovalState.OPEN)
    asked_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
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
