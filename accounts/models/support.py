"""That support looked at a tenant or a person: kept, so that those it concerns can see it."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class SupportView(models.Model):
    """One look, for a reason and a limited time. Rows are never removed while the tenant or person is there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    staff = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    tenant = models.ForeignKey("accounts.Tenant", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    person = models.ForeignKey("accounts.User", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=200)
    opened_at = models.DateTimeField(default=timezone.now, editable=False)
    closes_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-opened_at",)
        constraints = (
            models.CheckConstraint(
                name="support_view_of_one",
                condition=models.Q(tenant__isnull=False, person__isnull=True)
                | models.Q(tenant__isnull=True, person__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"support view {self.id}"
