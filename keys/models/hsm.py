"""Changes of a key's HSM part that are under way; each row goes with its change. Fields and constraints only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ConversionStep(models.TextChoices):
    """How far a conversion is; each step is on disk before the next one begins (keys.split.conversion)."""

    SPLIT = "split", "The halves are drawn and sealed"
    MADE = "made", "The HSM has made its key"
    ADOPTED = "adopted", "The co-signer has its half"
    CANCELLED = "cancelled", "Given up; the HSM and the co-signer are being cleaned up"
    FAILED = "failed", "Given up and cleaned up; kept to say why"


class Conversion(models.Model):
    """An encrypted key on its way to being a split one; it signs as before until the very end.

    ``half_a`` is what PersonalKey.encrypted_half_key will hold; ``half_b`` the co-signer's half on its way there
    (a sealed box of its own, keys.signing.half.half_in_transit_context), wiped as soon as the co-signer has it.
    ``cosigner`` and ``key_tweak`` as PersonalKey will hold them. ``problem`` is what it waits for, in plain words.
    """

    key = models.OneToOneField(
        "keys.PersonalKey", on_delete=models.PROTECT, primary_key=True, related_name="conversion"
    )
    step = models.CharField(max_length=16, choices=ConversionStep, default=ConversionStep.SPLIT)
    half_a = models.BinaryField(null=True, blank=True)
    half_a_kek_version = models.CharField("key-encryption key version of half A", max_length=255, blank=True)
    half_b = models.BinaryField(null=True, blank=True)
    half_b_kek_version = models.CharField("key-encryption key version of half B", max_length=255, blank=True)
    cosigner_public_key = models.CharField(max_length=64)
    key_tweak = models.CharField(max_length=64)
    kms_key_name = models.CharField("HSM key name", max_length=255)
    kms_key_version = models.CharField("HSM key version", max_length=255, blank=True)
    authoriser_public_key = models.CharField("HSM authoriser's public key", max_length=68, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    asked_by = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("started_at",)
        constraints = (
            models.CheckConstraint(
                name="conversion_step_has_fields",
                condition=Q(step="split", half_a__isnull=False, half_b__isnull=False)
                | (
                    Q(step="made", half_a__isnull=False, half_b__isnull=False)
                    & ~Q(kms_key_version="")
                    & ~Q(authoriser_public_key="")
                )
                | (
                    Q(step="adopted", half_a__isnull=False, half_b__isnull=True)
                    & ~Q(kms_key_version="")
                    & ~Q(authoriser_public_key="")
                )
                | Q(step__in=["cancelled", "failed"], half_a__isnull=True, half_b__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"{self.key_id} {self.step}"


class SuccessionStep(models.TextChoices):
    """How far a change of a split key's HSM key is (keys.split.succession)."""

    NAMED = "named", "The new HSM key has a name"
    MADE = "made", "The HSM has made it"
    WAITING = "waiting", "The co-signer waits before it accepts it; it can be refused"
    REFUSED = "refused", "Refused; the co-signer and the HSM are being told"
    ACCEPTED = "accepted", "The co-signer accepts both"
    SWITCHED = "switched", "The new one authorises"


class Succession(models.Model):
    """A split key whose HSM key is being replaced; both authorise until every process knows the new one.

    ``old_*`` is what the key had, ``kms_*`` what it will have, named as in PersonalKey. ``waits_until`` is when the
    co-signer accepts it, by the co-signer's clock, unless it is refused.
    """

    key = models.OneToOneField(
        "keys.PersonalKey", on_delete=models.PROTECT, primary_key=True, related_name="succession"
    )
    step = models.CharField(max_length=16, choices=SuccessionStep, default=SuccessionStep.NAMED)
    old_version = models.CharField(max_length=255)
    old_public_key = models.CharField(max_length=68)
    kms_key_name = models.CharField("HSM key name", max_length=255)
    kms_key_version = models.CharField("HSM key version", max_length=255, blank=True)
    authoriser_public_key = models.CharField("HSM authoriser's public key", max_length=68, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    switched_at = models.DateTimeField(null=True, blank=True)
    waits_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("started_at",)
        constraints = (
            models.CheckConstraint(
                name="succession_step_has_fields",
                condition=Q(step="named")
                | (
                    Q(step__in=["made", "waiting", "refused", "accepted"])
                    & ~Q(kms_key_version="")
                    & ~Q(authoriser_public_key="")
                )
                | (Q(step="switched", switched_at__isnull=False) & ~Q(authoriser_public_key="")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.key_id} {self.step}"


class ProofKind(models.TextChoices):
    """Why the co-signer takes a split key's authoriser for a key in an HSM (keys.cosigner.candidates.ProvedBy)."""

    ATTESTATION = "attestation", "The HSM's attestation, checked by the co-signer"
    OPERATOR = "operator", "The word of the co-signer's operator"
    NOTHING = "nothing", "Nothing: the co-signer trusted the first key that it was told of"


class AuthoriserProof(models.Model):
    """What shows that a split key's HSM key is in an HSM, as the co-signer checked it; public."""

    key = models.OneToOneField(
        "keys.PersonalKey", on_delete=models.CASCADE, primary_key=True, related_name="authoriser_proof"
    )
    kind = models.CharField(max_length=16, choices=ProofKind)
    authoriser_public_key = models.CharField(max_length=68)
    kms_key_version = models.CharField(max_length=255, blank=True)
    statement = models.BinaryField(blank=True)
    certificates = models.TextField(blank=True)
    checked_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.key_id} {self.kind}"
