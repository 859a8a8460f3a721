"""Requests of owners to have their key given out under a password. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from keys.models.personal_keys import PersonalKey


class ExportState(models.TextChoices):
    """How far an export is (keys.exporting)."""

    WAITING = "waiting", "Asked for; it waits, and can be cancelled"
    TAKING = "taking", "The signer is sealing it"
    TAKEN = "taken", "Downloaded"
    CANCELLED = "cancelled", "Cancelled"


OPEN: list[str] = [ExportState.WAITING, ExportState.TAKING]


class KeyExport(models.Model):
    """One request for a key's export; it holds nothing of the key.

    ``session_hash`` is the SHA-256 (hex) of what the browser session that asked has, ``credentials`` that of how the
    owner signed in when it was asked (keys.exporting.rules). It can be taken from ``due_at`` until ``expires_at``.
    ``seal`` covers all that (keys.exporting.seals).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(PersonalKey, on_delete=models.PROTECT, related_name="exports")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=16, choices=ExportState, default=ExportState.WAITING)
    session_hash = models.CharField(max_length=64)
    credentials = models.CharField(max_length=64)
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)

    class Meta:
        ordering = ("-asked_at",)
        constraints = (
            models.UniqueConstraint(name="export_open_once", fields=["key"], condition=Q(state__in=OPEN)),
            models.CheckConstraint(
                name="export_state_known", condition=Q(state__in=["waiting", "taking", "taken", "cancelled"])
            ),
        )

    def __str__(self) -> str:
        return f"{self.key_id} {self.state}"
