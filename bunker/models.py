"""Connections, requests and what workers share through the database. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models import LockAuthority, Tenant
from keys.models import PersonalKey, TransportKey


class ConnectionState(models.TextChoices):
    """From a bunker URL's unused secret to the end of the app's grant."""

    PENDING = "pending", "Waiting for the app"
    ACTIVE = "active", "Active"
    LOCKED = "locked", "Locked"
    REVOKED = "revoked", "Revoked"
    LOGGED_OUT = "logged-out", "Logged out by the app"
    LAPSED = "lapsed", "Never used"


class RequestRate(models.TextChoices):
    """How often an app may ask (bunker.worker.admission.AdmissionLimits)."""

    PERSON = "person", "A person's"
    MACHINE = "machine", "A server's"


class Connection(models.Model):
    """One app's grant on one key: a bunker URL's one-time secret, then exactly one client public key (NIP-46).

    ``policy`` is the document this connection was granted (bunker.policy), copied so that a later change of
    a template widens nothing. ``client_metadata`` is what the app says of itself: shown as unverified, never trusted.
    ``seal`` shows that a service wrote the row (bunker.services.grant_seals).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="connections")
    key = models.ForeignKey(PersonalKey, on_delete=models.PROTECT, related_name="connections")
    transport = models.ForeignKey(TransportKey, on_delete=models.PROTECT, related_name="connections")
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=16, choices=ConnectionState, default=ConnectionState.PENDING)
    client_public_key = models.CharField(max_length=64, blank=True)
    client_metadata = models.JSONField(default=dict, blank=True)
    requested_permissions = models.TextField(blank=True)
    secret_hash = models.BinaryField(max_length=32, null=True, blank=True, unique=True)
    secret_expires_at = models.DateTimeField(null=True, blank=True)
    policy_slug = models.CharField(max_length=50)
    policy = models.JSONField()
    relays = models.JSONField(default=list, help_text="Relay URLs on which this connection is served.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    bound_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    use_count = models.BigIntegerField(default=0)
    request_rate = models.CharField(max_length=8, choices=RequestRate, default=RequestRate.PERSON)
    locked_by = models.CharField(
        max_length=8, choices=LockAuthority, blank=True, help_text="On whose authority it is locked."
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=200, blank=True)
    seal = models.CharField(max_length=64, blank=True, default="", db_default="")

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["tenant", "key", "state"], name="connection_key_state"),
            models.Index(fields=["transport", "client_public_key"], name="connection_client"),
        )
        constraints = (
            models.CheckConstraint(
                name="connection_state_known",
                condition=Q(state__in=["pending", "active", "locked", "revoked", "logged-out", "lapsed"]),
            ),
            models.CheckConstraint(
                name="connection_bound_when_active",
                condition=~Q(state__in=["active", "locked", "logged-out"])
                | (~Q(client_public_key="") & Q(bound_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="connection_pending_has_secret",
                condition=~Q(state="pending")
                | Q(client_public_key="", secret_hash__isnull=False, secret_expires_at__isnull=False),
            ),
            models.UniqueConstraint(
                name="connection_one_per_client",
                fields=["transport", "client_public_key"],
                condition=Q(state__in=["active", "locked"]),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"


class PairingGuard(models.Model):
    """Counts wrong secrets at one signer, so that a flood of them does not fill the audit log."""

    transport = models.OneToOneField(TransportKey, on_delete=models.CASCADE, primary_key=True, related_name="guard")
    failures = models.PositiveIntegerField(default=0)
    window_started_at = models.DateTimeField(default=timezone.now)
    # Read by workers of version 0.1, which closed a signer's pairing; nothing sets it any more.
    closed_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.failures} failures"


class RequestState(models.TextChoices):
    """How far an accepted request has come; a restart finishes what stands between."""

    CLAIMED = "claimed", "Claimed"
    ANSWERED = "answered", "Answered"
    PUBLISHED = "published", "Published"
    ABANDONED = "abandoned", "Abandoned"


class Request(models.Model):
    """A NIP-46 request that was claimed, and its reply: the memory that makes answers exactly-once.

    ``event_id`` is the kind 24133 event's id. ``body_hash`` is SHA-256 over method and parameters, so that a repeated
    request id with another body can be refused. ``event`` (as received) and ``reply`` (as published) are JSON text;
    both contents are NIP-44 ciphertext.
    """

    event_id = models.CharField(primary_key=True, max_length=64)
    tenant_id = models.UUIDField()
    transport_id = models.UUIDField()
    connection_id = models.UUIDField(null=True)
    client_public_key = models.CharField(max_length=64)
    request_id = models.CharField(max_length=128)
    body_hash = models.BinaryField(max_length=32)
    method = models.CharField(max_length=32)
    shard = models.PositiveSmallIntegerField()
    fence = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=RequestState, default=RequestState.CLAIMED)
    event = models.TextField()
    reply = models.TextField(blank=True)
    claimed_at = models.BigIntegerField(help_text="Unix time in milliseconds.")
    expires_at = models.BigIntegerField(help_text="Unix time in milliseconds; forgotten after it.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="request_id_once_per_client", fields=["transport_id", "client_public_key", "request_id"]
            ),
        )
        indexes = (
            models.Index(
                fields=["shard", "state"], name="request_unfinished", condition=Q(state__in=["claimed", "answered"])
            ),
            models.Index(fields=["expires_at"], name="request_expiry"),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.event_id[:12]} {self.state}"


class ShardLease(models.Model):
    """Which worker serves a shard of signers. ``fence`` grows with every change of owner."""

    shard = models.PositiveSmallIntegerField(primary_key=True)
    owner = models.CharField(max_length=64, blank=True)
    fence = models.BigIntegerField(default=0)
    expires_at = models.BigIntegerField(default=0, help_text="Unix time in milliseconds.")

    def __str__(self) -> str:
        return f"shard {self.shard}: {self.owner or 'free'}"


class WorkerSeat(models.Model):
    """One running bunker worker, by its heartbeat."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.BigIntegerField(help_text="Unix time in milliseconds.")
    status = models.JSONField(default=dict, help_text="Counters and relay health, for people.")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Change(models.Model):
    """Outbox of changes that workers must notice: written in the same transaction as the change itself."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16)
    object_id = models.CharField(max_length=64)
    at = models.BigIntegerField(help_text="Unix time in milliseconds.")

    class Meta:
        indexes = (models.Index(fields=["at"], name="change_time"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"


class Traffic(models.Model):
    """Requests of one tenant (or of EVERYONE) within one span: by outcome, and uses of keys by how long they took.

    The columns are those of bunker.traffic.counts. There is no foreign key: figures outlive what they are about.
    """

    tenant_id = models.UUIDField()
    signed = models.IntegerField(default=0)
    used = models.IntegerField(default=0)
    other = models.IntegerField(default=0)
    refused = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    ms_1 = models.IntegerField(default=0)
    ms_2 = models.IntegerField(default=0)
    ms_3 = models.IntegerField(default=0)
    ms_5 = models.IntegerField(default=0)
    ms_8 = models.IntegerField(default=0)
    ms_12 = models.IntegerField(default=0)
    ms_20 = models.IntegerField(default=0)
    ms_30 = models.IntegerField(default=0)
    ms_50 = models.IntegerField(default=0)
    ms_80 = models.IntegerField(default=0)
    ms_120 = models.IntegerField(default=0)
    ms_200 = models.IntegerField(default=0)
    ms_300 = models.IntegerField(default=0)
    ms_500 = models.IntegerField(default=0)
    ms_1000 = models.IntegerField(default=0)
    ms_2000 = models.IntegerField(default=0)
    ms_5000 = models.IntegerField(default=0)
    ms_more = models.IntegerField(default=0)

    class Meta:
        abstract = True


class TrafficMinute(Traffic):
    """What one worker counted within one minute. Written once, after the minute's end or when the worker stops."""

    minute = models.IntegerField(help_text="Unix time in minutes.")
    worker = models.CharField(max_length=64)

    class Meta:
        constraints = (models.UniqueConstraint(name="trafficminute_once", fields=["tenant_id", "minute", "worker"]),)
        indexes = (models.Index(fields=["minute"], name="trafficminute_minute"),)

    def __str__(self) -> str:
        return f"minute {self.minute} of {self.tenant_id.hex}"


class TrafficHour(Traffic):
    """The sum of an hour's minutes over all workers."""

    hour = models.IntegerField(help_text="Unix time in hours.")

    class Meta:
        constraints = (models.UniqueConstraint(name="traffichour_once", fields=["tenant_id", "hour"]),)
        indexes = (models.Index(fields=["hour"], name="traffichour_hour"),)

    def __str__(self) -> str:
        return f"hour {self.hour} of {self.tenant_id.hex}"
