"""Tenants, their host names and what they used on a day. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models.lock_authority import LockAuthority


class KeyMode(models.TextChoices):
    """How a personal key is kept (docs/security-model.md)."""

    ENCRYPTED = "encrypted", "Encrypted"
    HSM = "hsm", "HSM"


def default_key_modes() -> list[str]:
    return [KeyMode.ENCRYPTED.value]


class Tenant(models.Model):
    """One community, media house or company whose users' keys are kept apart from all others'."""

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        LOCKED = "locked", "Locked"
        SUSPENDED = "suspended", "Suspended"

    class Registration(models.TextChoices):
        OPEN = "open", "Anyone may sign up"
        INVITATION = "invitation", "By invitation"
        CLOSED = "closed", "Closed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    state_set_by = models.CharField(max_length=16, choices=LockAuthority, blank=True, default="")
    registration = models.CharField(max_length=16, choices=Registration, default=Registration.INVITATION)
    key_modes = models.JSONField(default=default_key_modes, help_text="Key modes its users may choose from.")
    default_key_mode = models.CharField(max_length=16, choices=KeyMode, default=KeyMode.ENCRYPTED)
    accent = models.CharField(max_length=7, blank=True, help_text="Colour of its pages, as #rrggbb; empty: Keycast's.")
    policies = models.JSONField(
        default=list, blank=True, help_text="Ready-made policies its users may grant; none named: all of them."
    )
    default_policy = models.CharField(max_length=32, blank=True, help_text="The policy offered first for a new app.")
    relays = models.JSONField(
        default=list, blank=True, help_text="Outbound relays of its own, beside those of the deployment."
    )
    export_wait_hours = models.PositiveIntegerField(
        null=True, blank=True, help_text="Hours from asking for a key's export to its download; nothing: no exports."
    )
    export_seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    max_members = models.PositiveIntegerField(null=True, blank=True)
    max_keys = models.PositiveIntegerField(null=True, blank=True)
    max_apps = models.PositiveIntegerField(null=True, blank=True)
    max_signatures = models.PositiveIntegerField(null=True, blank=True, help_text="A day, by UTC.")
    max_relays = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                name="tenant_state_known", condition=models.Q(state__in=["active", "locked", "suspended"])
            ),
            models.CheckConstraint(
                name="tenant_registration_known",
                condition=models.Q(registration__in=["open", "invitation", "closed"]),
            ),
            models.CheckConstraint(
                name="tenant_key_mode_known", condition=models.Q(default_key_mode__in=["encrypted", "hsm"])
            ),
        )

    def __str__(self) -> str:
        return self.name


class TenantDay(models.Model):
    """How much a tenant signed on one day (UTC). Workers add to it about once a second (bunker.worker.daily_quota)."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    signatures = models.PositiveBigIntegerField(default=0)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        constraints = (models.UniqueConstraint(name="tenant_day_once", fields=["tenant", "day"]),)

    def __str__(self) -> str:
        return f"{self.day}: {self.signatures}"


class TenantDomain(models.Model):
    """A host name that leads to a tenant. Only verified ones are served, by exact match.

    Several tenants may claim a name; the one that proves it (``token``, until ``expires_at``) has it, nobody else.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="domains")
    host = models.CharField(max_length=253, help_text="Lower case, A-labels, no port, no dot at the end.")
    is_primary = models.BooleanField(default=False)
    verified_at = models.DateTimeField(null=True, blank=True)
    token = models.CharField(max_length=64, blank=True, help_text="What its DNS must show to prove it.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Until when the proof is looked for.")
    checked_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=200, blank=True, help_text="What the last look at its DNS found wrong.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("-is_primary", "host")
        constraints = (
            models.UniqueConstraint(
                name="tenant_has_one_primary_domain", fields=["tenant"], condition=models.Q(is_primary=True)
            ),
            models.UniqueConstraint(name="tenant_domain_claimed_once", fields=["tenant", "host"]),
            models.UniqueConstraint(
                name="tenant_domain_verified_once", fields=["host"], condition=models.Q(verified_at__isnull=False)
            ),
            models.CheckConstraint(name="tenant_domain_lower_case", condition=models.Q(host=Lower("host"))),
        )

    def __str__(self) -> str:
        return self.host
