"""Rotations: what is being brought to other keys, and how far. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone


class RotationState(models.TextChoices):
    """How far a rotation has come; only pending and running ones are worked on."""

    PENDING = "pending", "Not begun"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Ended with failures"
    CANCELLED = "cancelled", "Cancelled"


class Rotation(models.Model):
    """One rotation of something, of one key, of a tenant or of everything: what keys.rotation works through.

    ``scope`` is ``all``, ``tenant:<32 hex digits>`` or ``key:<32 hex digits>``, and ``tenant_id`` the tenant of the
    last two. Two of one ``group`` never run on scopes that overlap. ``cursor`` is the last item of this pass that was
    dealt with, ``moved`` how many this pass changed. ``owner``, ``fence`` and ``lease_until`` (Unix time in
    milliseconds) say who works on it now; the fence grows with every change of owner. ``started_by`` is an audit actor.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32)
    group = models.CharField(max_length=32)
    scope = models.CharField(max_length=64)
    tenant_id = models.UUIDField(null=True, blank=True, db_index=True)
    state = models.CharField(max_length=16, choices=RotationState, default=RotationState.PENDING)
    is_dry_run = models.BooleanField(default=False)
    options = models.JSONField(default=dict, blank=True)
    started_by = models.JSONField(default=dict)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    passes = models.PositiveSmallIntegerField(default=0)
    moved = models.PositiveIntegerField(default=0)
    cursor = models.CharField(max_length=64, blank=True)
    rate = models.FloatField(default=0.0, help_text="Items a second, lately.")
    problem = models.CharField(max_length=64, blank=True, help_text="Code of what it waits for.")
    waits = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    owner = models.CharField(max_length=64, blank=True)
    fence = models.BigIntegerField(default=0)
    lease_until = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True, help_text="When it last came on.")
    ended_at = models.DateTimeField(null=True, blank=True)
    report = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["state"], name="rotation_unfinished", condition=Q(state__in=["pending", "running"])),
        )
        constraints = (
            models.CheckConstraint(
                name="rotation_state_known",
                condition=Q(state__in=["pending", "running", "done", "failed", "cancelled"]),
            ),
            models.CheckConstraint(
                name="rotation_dry_run_is_over",
                condition=Q(is_dry_run=False) | Q(state__in=["done", "failed", "cancelled"]),
            ),
            models.UniqueConstraint(
                name="rotation_one_per_scope", fields=["group", "scope"], condition=Q(state__in=["pending", "running"])
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.scope} {self.state}"
