"""Beginning a conversion, and giving it up. Each takes an actor and writes its audit row."""

from __future__ import annotations

from django.db import transaction
from django_scopes import scope

from accounts.models import KeyMode
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditOutcome, AuditTag
from keys import access
from keys.errors import ConversionUnderWay, KeyDamaged, NoCapability, NotConverting
from keys.hsm.providers import new_key_name, split_provider
from keys.lifecycle import audit, modes
from keys.lifecycle.erasure import wipe_conversion
from keys.lifecycle.rows import key_ref, locked_row
from keys.lifecycle.states import require_active
from keys.models import PersonalKey
from keys.models.hsm import Conversion, ConversionStep
from keys.signing.factory import key_maker
from keys.signing.half import SealedHalf
from keys.signing.local import sealing_context_of
from keys.signing.protocol import SplitKey
from keys.split.conversion import wakeup

_ONE_WAY = "Only an encrypted key can be turned into a split one, and never the other way."


def begin_conversion(*, actor: Actor, key: PersonalKey) -> Conversion:
    """Split an active encrypted key and have jobs do the rest; one that is under way already is returned.

    Raises NotPermitted, NoCapability, KeyLocked, KeyUnavailable, KeyModeNotOffered, KeyModeUnavailable, KekUnavailable,
    ConversionUnderWay while an earlier one is being cleaned up.
    """
    row, going = _looked_at(actor, key)
    if going is not None:
        return going
    # Opening may take a key-encryption key's round trip: not while the row is locked.
    split = _split(row)
    with scope(tenant=key.tenant_id), transaction.atomic():
        # Looked at again under the lock: splitting took its time, and somebody else may have begun or stopped the key.
        row = locked_row(key)
        going = _running_conversion(row)
        if going is not None:
            return going
        _require(actor, row)
        # Its owner has read why it failed, or begins again in spite of it; there is one conversion for a key.
        Conversion.objects.filter(key=row, step=ConversionStep.FAILED).delete()
        going = _stored(actor, row, split)
        audit.write(row, AuditTag.KEY_CONVERSION_BEGUN, actor, hsm_key=going.kms_key_name)
        wakeup.enqueue_after_commit(row.id)
    return going


def cancel_conversion(*, actor: Actor, key: PersonalKey, reason: str = "") -> None:
    """Leave the key as it is; jobs end what the HSM and the co-signer have of the new one.

    For a conversion that failed: put the notice away. Raises NotPermitted, NotConverting.
    """
    with scope(tenant=key.tenant_id), transaction.atomic():
        row = locked_row(key)
        access.require_manager(actor, row, StaffPermission.CONVERT)
        going = Conversion.objects.select_for_update().filter(key=row).first()
        if going is None:
            raise NotConverting
        if going.step == ConversionStep.FAILED:
            going.delete()
        elif going.step != ConversionStep.CANCELLED:
            end_conversion(row, going, actor, reason)


def end_conversion(
    row: PersonalKey, going: Conversion, actor: Actor, reason: str, outcome: AuditOutcome = AuditOutcome.OK
) -> None:
    """Stop a conversion inside the caller's transaction, with both rows locked: its halves are wiped."""
    wipe_conversion(going, reason)
    audit.write(row, AuditTag.KEY_CONVERSION_ENDED, actor, outcome, reason=reason[:200], hsm_key=going.kms_key_name)
    wakeup.enqueue_after_commit(row.id)


def _looked_at(actor: Actor, key: PersonalKey) -> tuple[PersonalKey, Conversion | None]:
    with scope(tenant=key.tenant_id), transaction.atomic():
        row = locked_row(key)
        _require(actor, row)
        return row, _running_conversion(row)


def _require(actor: Actor, row: PersonalKey) -> None:
    access.require_manager(actor, row, StaffPermission.CONVERT)
    if row.key_mode != KeyMode.ENCRYPTED:
        raise NoCapability(_ONE_WAY)
    require_active(row.state)
    modes.choose(row.tenant, KeyMode.HSM, split_provider(), imported=True)


def _running_conversion(row: PersonalKey) -> Conversion | None:
    found: Conversion | None = Conversion.objects.filter(key=row).exclude(step=ConversionStep.FAILED).first()
    if found is not None and found.step == ConversionStep.CANCELLED:
        raise ConversionUnderWay("An earlier attempt is still being cleaned up. Please try again in a few minutes.")
    return found


def _split(row: PersonalKey) -> SplitKey:
    ref = key_ref(row)
    if ref.sealed is None:
        raise KeyDamaged
    return key_maker().split(ref.sealed, sealing_context_of(ref))


def _stored(actor: Actor, row: PersonalKey, split: SplitKey) -> Conversion:
    return Conversion.objects.create(
        key=row,
        half_a=SealedHalf(split.half_a, split.sealed_a).pack(),
        half_a_kek_version=split.sealed_a.kek_version,
        half_b=SealedHalf(split.half_b, split.sealed_b).pack(),
        half_b_kek_version=split.sealed_b.kek_version,
        cosigner_public_key=split.half_b.hex(),
        key_tweak=split.tweak.hex(),
        kms_key_name=new_key_name(split_provider(), row.tenant_id),
        asked_by=actor.label[:200],
    )
