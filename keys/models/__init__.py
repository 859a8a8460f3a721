"""Personal keys and the transport keys that answer for them. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models import KeyMode, Tenant


class KeyState(models.TextChoices):
    """Where a key is in its life (docs/security-model.md, "Life of a key")."""

    PENDING = "pending", "Being created"
    ACTIVE = "active", "Active"
    LOCKED = "locked", "Locked"
    DISABLED = "disabled", "Disabled"
    DESTRUCTION_SCHEDULED = "destruction-scheduled", "To be destroyed"
    DESTROYED = "destroyed", "Destroyed"
    FAILED = "failed", "Creation failed"


class SetBy(models.TextChoices):
    """On whose authority a key is in its state; only the same or a higher one may bring it back into use."""

    OWNER = "owner", "Its owner"
    TENANT = "tenant", "The tenant's administrators"
    STAFF = "staff", "Platform staff"
    SYSTEM = "system", "Keycast itself"


class Provider(models.TextChoices):
    """Who guards the secret: the key-encryption key's keeper (encrypted) or the HSM (hsm)."""

    LOCAL = "local", "Local key file"
    GOOGLE = "google", "Google Cloud KMS"
    NETHSM = "nethsm", "NetHSM"


_HAS_PUBLIC_KEY = Q(public_key__isnull=False)
_SETTLED = ["active", "locked", "disabled", "destruction-scheduled"]
_NO_KMS = Q(kms_key_name="", kms_key_version="", kms_public_key="")
_NO_HALF = Q(encrypted_half_key__isnull=True, key_tweak="", cosigner="")


class PersonalKey(models.Model):
    """One Nostr identity of one user, in one of the two key modes (custody of it: docs/security-model.md).

    ``public_key`` is 64 lower-case hex digits (x-only, BIP-340); unset while a key is pending.
    ``encrypted_secret_key`` is a sealed box (keys.signing.envelope), set in mode ``encrypted`` only.
    Mode ``hsm`` on Google keeps signer A's sealed half in ``encrypted_half_key``, the public tweak of an
    imported key in ``key_tweak``, and the HSM authoriser's public key (66 hex digits) in ``kms_public_key``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="personal_keys")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="personal_keys")
    name = models.CharField(max_length=100)
    key_mode = models.CharField(max_length=16, choices=KeyMode)
    provider = models.CharField(max_length=16, choices=Provider)
    state = models.CharField(max_length=24, choices=KeyState, default=KeyState.PENDING)
    state_reason = models.CharField(max_length=200, blank=True)
    state_set_by = models.CharField(max_length=16, choices=SetBy, default=SetBy.OWNER)
    public_key = models.CharField(max_length=64, unique=True, null=True, blank=True)
    encrypted_secret_key = models.BinaryField(null=True, blank=True)
    kek_version = models.CharField("key-encryption key version", max_length=255, blank=True)
    kms_key_name = models.CharField("HSM key name", max_length=255, blank=True)
    kms_key_version = models.CharField("HSM key version", max_length=255, blank=True)
    kms_public_key = models.CharField("HSM authoriser's public key", max_length=66, blank=True)
    encrypted_half_key = models.BinaryField(null=True, blank=True)
    key_tweak = models.CharField(max_length=64, blank=True)
    cosigner = models.CharField(max_length=64, blank=True)
    authoriser_since = models.DateTimeField("HSM key replaced at", null=True, blank=True)
    hsm_is_disabled = models.BooleanField("HSM key version disabled by us", default=False)
    is_imported = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    destruction_due_at = models.DateTimeField(null=True, blank=True)
    halves_refreshed_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces", help_text="Its successor."
    )
    replaced_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it only reads: its successor was ready for use then."
    )

    objects = ScopedManager(tenant="tenant")

    class Meta:
        ordering = ("created_at",)
        indexes = (
            models.Index(fields=["tenant", "user"], name="personalkey_owner"),
            models.Index(fields=["tenant", "state"], name="personalkey_state"),
            # The staff's list: in order of making, with every column that it is narrowed by (docs/decisions/0080).
            models.Index(
                fields=["created_at", "id", "tenant", "key_mode", "provider", "state"], name="personalkey_list"
            ),
            models.Index(fields=["kms_key_name"], name="personalkey_hsm_key", condition=~Q(kms_key_name="")),
            models.Index(fields=["cosigner"], name="personalkey_cosigner", condition=~Q(cosigner="")),
        )
        constraints = (
            models.CheckConstraint(name="personalkey_mode_known", condition=Q(key_mode__in=["encrypted", "hsm"])),
            models.CheckConstraint(
                name="personalkey_state_known",
                condition=Q(state__in=["pending", *_SETTLED, "destroyed", "failed"]),
            ),
            models.CheckConstraint(
                name="personalkey_provider_fits_mode",
                condition=Q(key_mode="encrypted", provider__in=["local", "google"])
                | Q(key_mode="hsm", provider__in=["google", "nethsm"]),
            ),
            models.CheckConstraint(
                name="personalkey_encrypted_fields",
                condition=~Q(key_mode="encrypted")
                | (
                    _NO_KMS
                    & _NO_HALF
                    & (
                        Q(state__in=["pending", "failed", "destroyed"], encrypted_secret_key__isnull=True)
                        | (Q(encrypted_secret_key__isnull=False, state__in=_SETTLED) & ~Q(kek_version=""))
                    )
                ),
            ),
            models.CheckConstraint(
                name="personalkey_hsm_fields",
                condition=~Q(key_mode="hsm")
                | (
                    Q(encrypted_secret_key__isnull=True)
                    & (
                        Q(state__in=["pending", "failed", "destroyed"])
                        | (
                            ~Q(kms_key_name="")
                            & (
                                (Q(provider="nethsm") & _NO_HALF)
                                | (
                                    Q(provider="google", encrypted_half_key__isnull=False)
                                    & ~Q(kms_key_version="")
                                    & ~Q(kms_public_key="")
                                    & ~Q(cosigner="")
                                    & ~Q(kek_version="")
                                )
                            )
                        )
                    )
                ),
            ),
            models.CheckConstraint(
                name="personalkey_destroyed_is_empty",
                condition=~Q(state="destroyed")
                | Q(encrypted_secret_key__isnull=True, encrypted_half_key__isnull=True, key_tweak=""),
            ),
            models.CheckConstraint(
                name="personalkey_set_by_known", condition=Q(state_set_by__in=["owner", "tenant", "staff", "system"])
            ),
            models.CheckConstraint(
                name="personalkey_public_key_once_made",
                condition=Q(state__in=["pending", "failed", "destroyed"]) | _HAS_PUBLIC_KEY,
            ),
            models.CheckConstraint(
                name="personalkey_replaced_by_another",
                condition=Q(replaced_at__isnull=True) | Q(replaced_by__isnull=False),
            ),
            models.CheckConstraint(
                name="personalkey_destruction_has_date",
                condition=~Q(state="destruction-scheduled") | Q(destruction_due_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({(self.public_key or 'pending')[:12]})"


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
    cosigner = models.CharField(max_length=64, blank=True)
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
                condition=Q(step="drawn", cosigner="", key_tweak="", encrypted_half_key__isnull=False)
                | (Q(step="agreed", encrypted_half_key__isnull=False) & ~Q(cosigner="") & ~Q(key_tweak=""))
                | Q(step="switched", encrypted_half_key__isnull=True, switched_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.key_id} {self.step}"


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


from keys.models.hsm import Conversion as Conversion  # noqa: E402 -- a room of their own; Django looks here
from keys.models.hsm import ConversionStep as ConversionStep  # noqa: E402
from keys.models.hsm import Succession as Succession  # noqa: E402
from keys.models.inventory import HsmInventory as HsmInventory  # noqa: E402
from keys.models.inventory import HsmOrphan as HsmOrphan  # noqa: E402
from keys.models.inventory import InventoryState as InventoryState  # noqa: E402
from keys.models.inventory import OrphanState as OrphanState  # noqa: E402
