"""The transport keys that answer for personal keys. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models import Tenant
from keys.models.personal_keys import PersonalKey, Provider


class TransportKey(models.Model):
    """The remote-signer key that speaks NIP-46 for one personal key; it signs nothing in the user's name.

    ``shard`` spreads signers over workers (bunker.worker.leases).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="transport_keys")
    key = models.ForeignKey(PersonalKey, on_delete=models.PROTECT, related_name="transport_keys")
    public_key = models.CharField(max_length=64, unique=True)
    encrypted_secret_key = models.BinaryField()
    kek_provider = models.CharField(max_length=16, choices=Provider)
    kek_version = models.CharField("key-encryption key version", max_length=255)
    shard = models.PositiveSmallIntegerField()
    is_current = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ends_at = models.DateTimeField(
        null=True, blank=True, help_text="When a replaced key stops serving the apps that still use it; unset: never."
    )
    retired_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("created_at",)
        indexes = (models.Index(fields=["shard"], name="transportkey_shard"),)
        constraints = (
            models.UniqueConstraint(name="transportkey_one_current", fields=["key"], condition=Q(is_current=True)),
        )

    def __str__(self) -> str:
        return self.public_key[:12]
