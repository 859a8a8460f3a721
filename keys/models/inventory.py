"""Inventories of HSMs, and keys there that no row names. Fields and constraints only; import them from keys.models."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.models.personal_keys import Provider


class InventoryState(models.TextChoices):
    """How far a stock-taking of an HSM is."""

    RUNNING = "running", "Under way"
    DONE = "done", "Finished"
    FAILED = "failed", "Given up"


class HsmInventory(models.Model):
    """One comparison of an HSM with the database, made in steps that jobs take (keys.hsm.inventory).

    ``report`` holds ``counts`` by kind of finding, ``findings`` (a bounded number of them) and ``foreign`` names.
    ``phase`` and ``cursor`` say where the next step begins, ``lease_until`` who takes none meanwhile.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.CharField(max_length=16, choices=Provider)
    state = models.CharField(max_length=16, choices=InventoryState, default=InventoryState.RUNNING)
    phase = models.CharField(max_length=16, default="hsm")
    cursor = models.TextField(blank=True)
    done = models.PositiveIntegerField("keys looked at", default=0)
    total = models.PositiveIntegerField("keys to look at", default=0)
    report = models.JSONField(default=dict)
    problem = models.CharField(max_length=200, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    asked_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-started_at",)
        verbose_name, verbose_name_plural = "HSM inventory", "HSM inventories"
        constraints = (
            models.UniqueConstraint(
                name="hsminventory_one_at_a_time", fields=["provider"], condition=Q(state="running")
            ),
            models.CheckConstraint(
                name="hsminventory_state_known", condition=Q(state__in=["running", "done", "failed"])
            ),
            models.CheckConstraint(
                name="hsminventory_ended_has_time", condition=Q(state="running") | Q(finished_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{Provider(self.provider).label}, {self.started_at:%Y-%m-%d %H:%M}"


class OrphanState(models.TextChoices):
    """What was decided about a key that is in the HSM and in no row."""

    OPEN = "open", "To be looked at"
    IGNORED = "ignored", "Left as it is"
    DOOMED = "doomed", "To be destroyed"
    DESTROYED = "destroyed", "Given up for destruction"
    GONE = "gone", "No longer found"


class HsmOrphan(models.Model):
    """A key of our kind that is usable in an HSM and named by no row, and what people decided about it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.CharField(max_length=16, choices=Provider)
    name = models.CharField("HSM key name", max_length=255, unique=True)
    versions = models.JSONField(default=list)
    state = models.CharField(max_length=16, choices=OrphanState, default=OrphanState.OPEN)
    reason = models.CharField(max_length=200, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-last_seen_at",)
        verbose_name, verbose_name_plural = "HSM orphan", "HSM orphans"
        constraints = (
            models.CheckConstraint(
                name="hsmorphan_state_known",
                condition=Q(state__in=["open", "ignored", "doomed", "destroyed", "gone"]),
            ),
        )

    def __str__(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def is_undecided(self) -> bool:
        return bool(self.state == OrphanState.OPEN)
