"""Refreshes of split keys' halves that are under way. Fields and constraints only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.models.personal_keys import PersonalKey


class RefreshStep(models.TextChoices):
    """How far a refresh of halves is; each step is on disk before the next one begins (keys.split.refresh)."""

    DRAWN = "drawn", "Signer A has its new half"
    AGREED = "agreed", "Both sides have theirs, and the tweak is known"
    SWITCHED = "switched", "The new halves are in use"


class HalfRefresh(models.Model):
    """One refresh of a split key's halves that is under way; the row goes when the old halves are gone.

    ``old_half`` and ``new_half`` are signer A's public halves (64 hex digits), ``encrypted_half_key`` the new half as
    PersonalKey keeps it; ``cosigner`` and ``key_tweak`` are what PersonalKey will hold.
    """

    key = models.OneToOneField(PersonalKey, on_delete=models.CASCADE, primary_key=True, related_name="half_refresh")
    step = models.CharField(max_length=16, choices=RefreshStep, default=RefreshStep.DRAWN)
    old_half = models.CharField(max_length=64)
    new_half = models.CharField(max_length=64)
    encrypted_half_key = models.BinaryField(null=True, blank=True)
    kek_version = models.CharField("key-encryption key version", max_length=255)
    cosigner_public_key = models.CharField(max_length=64, blank=True)
    key_tweak = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    switched_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("started_at",)
        constraints = (
            models.CheckConstraint(
                name="halfrefresh_step_known", condition=Q(step__in=["drawn", "agreed", "switched"])
            ),
            models.CheckConstraint(
                name="halfrefresh_step_has_fields",
                condition=Q(step="drawn", cosigner_public_key="", key_tweak="", encrypted_half_key__isnull=False)
                | (Q(step="agreed", encrypted_half_key__isnull=False) & ~Q(cosigner_public_key="") & ~Q(key_tweak=""))
                | Q(step="switched", encrypted_half_key__isnull=True, switched_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.key_id} {self.step}"
