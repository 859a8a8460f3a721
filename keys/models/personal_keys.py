"""Personal keys: whose they are, how they are kept, where they are in their life. Fields and constraints only."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_scopes import ScopedManager

from accounts.models import KeyMode, LockAuthority, Tenant


class KeyState(models.TextChoices):
    """Where a key is in its life (docs/security-model.md, "Life of a key")."""

    PENDING = "pending", "Being created"
    ACTIVE = "active", "Active"
    LOCKED = "locked", "Locked"
    DISABLED = "disabled", "Disabled"
    DESTRUCTION_SCHEDULED = "destruction-scheduled", "To be destroyed"
    DESTROYED = "destroyed", "Destroyed"
    FAILED = "failed", "Creation failed"


class Provider(models.TextChoices):
    """Services that keep keys: key-encryption keys (``kek_provider``), or a person's own key (``hsm_provider``)."""

    LOCAL = "local", "Local key file"
    GOOGLE = "google", "Google Cloud KMS"
    NETHSM = "nethsm", "NetHSM"
    PKCS11 = "pkcs11", "HSM behind PKCS#11"
    OPENBAO = "openbao", "OpenBao"


_HAS_PUBLIC_KEY = Q(public_key__isnull=False)
_SPLITTING = ["google", "openbao", "pkcs11"]  # whose HSM authorises what the halves of a split key sign
_SETTLED = ["active", "locked", "disabled", "destruction-scheduled"]
_NO_KMS = Q(kms_key_name="", kms_key_version="", authoriser_public_key="")
_NO_HALF = Q(encrypted_half_key__isnull=True, key_tweak="", cosigner_public_key="")


class PersonalKey(models.Model):
    """One Nostr identity of one user, in one of the two key modes (custody of it: docs/security-model.md).

    ``public_key`` is 64 lower-case hex digits (x-only, BIP-340); unset while a key is pending.
    ``encrypted_secret_key`` is a sealed box (keys.signing.envelope), set in mode ``encrypted`` only, and
    ``kek_provider`` keeps the key-encryption key it is under; a half names that in itself (keys.signing.half).
    Mode ``hsm`` where the HSM only authorises keeps signer A's sealed half in ``encrypted_half_key``, the public
    tweak of an imported key in ``key_tweak``, and the HSM authoriser's public key (66 hex digits, 68
    on P-256) in ``authoriser_public_key``.
    ``owner_seal`` shows that a process of ours wrote whose key it is (keys.owner_seals).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="personal_keys")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="personal_keys")
    name = models.CharField(max_length=100)
    key_mode = models.CharField(max_length=16, choices=KeyMode)
    kek_provider = models.CharField("key-encryption key's provider", max_length=16, choices=Provider, blank=True)
    hsm_provider = models.CharField("HSM", max_length=16, choices=Provider, blank=True)
    state = models.CharField(max_length=24, choices=KeyState, default=KeyState.PENDING)
    state_reason = models.CharField(max_length=200, blank=True)
    state_set_by = models.CharField(max_length=16, choices=LockAuthority, default=LockAuthority.OWNER)
    public_key = models.CharField(max_length=64, unique=True, null=True, blank=True)
    encrypted_secret_key = models.BinaryField(null=True, blank=True)
    kek_version = models.CharField("key-encryption key version", max_length=255, blank=True)
    kms_key_name = models.CharField("HSM key name", max_length=255, blank=True)
    kms_key_version = models.CharField("HSM key version", max_length=255, blank=True)
    authoriser_public_key = models.CharField("HSM authoriser's public key", max_length=68, blank=True)
    encrypted_half_key = models.BinaryField(null=True, blank=True)
    key_tweak = models.CharField(max_length=64, blank=True)
    cosigner_public_key = models.CharField(max_length=64, blank=True)
    authoriser_since = models.DateTimeField("HSM key replaced at", null=True, blank=True)
    hsm_is_disabled = models.BooleanField("HSM key version disabled by us", default=False)
    owner_seal = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    is_imported = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    cosigner_heard_of = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The state_changed_at that the co-signer heard of last."
    )
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
                fields=["created_at", "id", "tenant", "key_mode", "kek_provider", "hsm_provider", "state"],
                name="personalkey_list",
            ),
            models.Index(fields=["kms_key_name"], name="personalkey_hsm_key", condition=~Q(kms_key_name="")),
            models.Index(
                fields=["cosigner_public_key"], name="personalkey_cosigner", condition=~Q(cosigner_public_key="")
            ),
        )
        constraints = (
            models.CheckConstraint(name="personalkey_mode_known", condition=Q(key_mode__in=["encrypted", "hsm"])),
            models.CheckConstraint(
                name="personalkey_state_known",
                condition=Q(state__in=["pending", *_SETTLED, "destroyed", "failed"]),
            ),
            models.CheckConstraint(
                name="personalkey_provider_fits_mode",
                condition=Q(
                    key_mode="encrypted", kek_provider__in=["local", "google", "openbao", "pkcs11"], hsm_provider=""
                )
                | Q(key_mode="hsm", hsm_provider__in=["nethsm", *_SPLITTING], kek_provider=""),
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
                                (Q(hsm_provider="nethsm") & _NO_HALF)
                                | (
                                    Q(hsm_provider__in=_SPLITTING, encrypted_half_key__isnull=False)
                                    & ~Q(kms_key_version="")
                                    & ~Q(authoriser_public_key="")
                                    & ~Q(cosigner_public_key="")
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

    @property
    def provider_of_mode(self) -> str:
        """The one of ``kek_provider`` and ``hsm_provider`` that is set; with the mode, a way of keeping keys."""
        return self.hsm_provider if self.key_mode == KeyMode.HSM else self.kek_provider
