"""What every request has that a second person decides on. Its life is accounts.two_person_rule."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django.db import models
from django.utils import timezone

OPEN: Final = "open"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"
"""States that all such requests have; what a decision is called, each says itself."""


class TwoPersonRequest(models.Model):
    """Who asked, when and why, and who decided. Each kind adds what it is about, its ``state``, and its constraints."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reason = models.CharField(max_length=200)
    asked_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    state: Any

    class Meta:
        abstract = True

    def why_closed(self) -> str:
        """What to say to somebody who comes too late."""
        return "This request is closed."
