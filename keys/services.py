"""The services of custody. Each takes an ``actor``, is atomic, and writes its audit row in the same transaction.

All raise ``keycast.base.errors.NotPermitted`` where the actor may not, ``KeyNotFound`` for a key that is gone, and
``keys.errors`` as their docstrings say. Keys are passed as rows of the caller's tenant; state is read again, locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import KeyMode, LockAuthority, Tenant, User
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted
from keycast.crypto.secret import SecretBytes
from keys import access
from keys.errors import KeyDamaged, PublishedKeyRefused
from keys.hsm import provisioning
from keys.lifecycle import audit, creation, destruction, modes, states
from keys.lifecycle.creation import WantedKey
from keys.lifecycle.published import is_refused
from keys.lifecycle.rows import locked_row
from keys.lifecycle.secret_input import (
    check_secret,
    parse_secret_input,
    parse_secret_of_person,
    parse_typed_secret,
)
from keys.lifecycle.states import KeyTransition
from keys.lifecycle.text import clean_name, clean_reason
from keys.lifecycle.verification import KeyProblem, opens, self_test
from keys.models import Conversion, KeyState, PersonalKey
from keys.owner_seals import OWNER
from keys.signing.runtime import forget_after_commit, signing_service, transport_service
from keys.split import reading, split_import, succession
from keys.split.conversion import services as conversion
from keys.split.split_import import SplitImport, SplitInBrowser

__all__ = [
    "KeyProblem",
    "SplitImport",
    "SplitInBrowser",
    "WantedKey",
    "add_keys",
    "begin_split_import",
    "cancel_conversion",
    "cancel_destruction",
    "convert_key",
    "create_key",
    "destroy_due_keys",
    "destroy_restored_key",
    "disable_key",
    "enable_key",
    "end_reading",
    "end_reading_of_app",
    "finish_pending_key",
    "finish_pending_keys",
    "import_key",
    "import_split_key",
    "lock_key",
    "parse_secret_input",
    "parse_secret_of_person",
    "parse_typed_secret",
    "refuse_successor",
    "remove_failed_key",
    "rename_key",
    "schedule_destruction",
    "seal_owner",
    "self_test",
    "signing_service",
    "transport_service",
    "unlock_key",
]

DESTROY_KEY = "destroy-key"
"""The kind of request (accounts.staff.approvals) for schedule_destruction."""


def create_key(
    *,
    actor: Actor,
    tenant: Tenant,
    user: User,
    name: str,
    key_mode: str | None = None,
    provider: str | None = None,
) -> PersonalKey:
    """A new key and its transport key; ``key_mode`` and ``provider`` default to what the tenant offers first.

    The key is active, or pending where its HSM takes time. Raises KeyModeNotOffered, KeyModeUnavailable,
    KekUnavailable, InvalidText.
    """
    return _add_one(actor, tenant, WantedKey(user, name), key_mode, provider)


def import_key(
    *,
    actor: Actor,
    tenant: Tenant,
    user: User,
    name: str,
    secret: SecretBytes,
    key_mode: str | None = None,
    provider: str | None = None,
) -> PersonalKey:
    """Keep an existing secret key, which stays the caller's to wipe (see ``parse_secret_of_person``).

    Raises as ``create_key``, and SecretRefused, PublishedKeyRefused, KeyExists, NoCapability.
    """
    check_secret(secret)
    return _add_one(actor, tenant, WantedKey(user, name, secret), key_mode, provider)


def begin_split_import(*, actor: Actor, tenant: Tenant, user: User) -> SplitImport:
    """What a page needs so that the browser splits an existing key: ids, and both signers' encryption keys.

    To be kept for this person until ``import_split_key``, once; it holds nothing secret but what is sealed. Raises
    KekUnavailable, CosignerUnavailable, KeyModeUnavailable.
    """
    access.require_creator(actor, tenant, user)
    return split_import.begin(tenant)


def import_split_key(
    *,
    actor: Actor,
    tenant: Tenant,
    user: User,
    name: str,
    provider: str,
    begun: SplitImport,
    made: SplitInBrowser,
) -> PersonalKey:
    """Keep an existing key that its owner's browser split: no process of ours has it whole.

    Raises as ``import_key``, and SealedHalfRefused.
    """
    halves = split_import.halves_of(tenant, begun, made)
    if is_refused(made.public_key.hex()):
        raise PublishedKeyRefused
    return _add_one(actor, tenant, WantedKey(user, name, halves), KeyMode.HSM.value, provider)


@transaction.atomic
def add_keys(
    *, actor: Actor, tenant: Tenant, wanted: Sequence[WantedKey], key_mode: str | None = None
) -> list[PersonalKey]:
    """Many keys of one tenant in one transaction, all or none; for operators' commands, some thousand at a time.

    Raises as ``import_key``.
    """
    for user in {item.user.pk: item.user for item in wanted}.values():
        access.require_creator(actor, tenant, user)
    imported = any(item.secret is not None for item in wanted)
    for item in wanted:
        if isinstance(item.secret, SecretBytes):
            check_secret(item.secret)
    return creation.create_keys(actor, tenant, modes.choose(tenant, key_mode, None, imported=imported), wanted)


@transaction.atomic
def rename_key(*, actor: Actor, key: PersonalKey, name: str) -> PersonalKey:
    """Give the key another name. Raises InvalidText."""
    row = locked_row(key)
    access.require_manager(actor, row)
    row.name = clean_name(name)
    row.save(update_fields=["name"])
    audit.write(row, AuditTag.KEY_RENAMED, actor)
    return row


def lock_key(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Stop all use of the key until somebody with the same authority unlocks it. Raises InvalidTransition."""
    return _stop(actor, key, KeyTransition.LOCK, AuditTag.KEY_LOCKED, reason)


def disable_key(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Take the key out of use. Raises InvalidTransition."""
    return _stop(actor, key, KeyTransition.DISABLE, AuditTag.KEY_DISABLED, reason)


def unlock_key(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Bring a locked key back, if its stored material passes its check. Raises InvalidTransition, KeyDamaged."""
    return _bring_back(actor, key, KeyTransition.UNLOCK, AuditTag.KEY_UNLOCKED, reason)


def enable_key(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Bring a disabled key back, if its stored material passes its check. Raises InvalidTransition, KeyDamaged."""
    return _bring_back(actor, key, KeyTransition.ENABLE, AuditTag.KEY_ENABLED, reason)


@transaction.atomic
def schedule_destruction(
    *, actor: Actor, key: PersonalKey, reason: str = "", approval_proof: ApprovalProof | None = None
) -> PersonalKey:
    """Stop the key now and destroy it in ``KEY_DESTRUCTION_DAYS``. Raises InvalidTransition.

    Callers ask for a fresh re-authentication first. Staff need two persons: ``approval proof`` comes from a request
    that another one approved (keys.approval_kinds), else ApprovalRequired.
    """
    row = locked_row(key)
    held = access.require_manager(actor, row, StaffPermission.DESTROY)
    proof = use_proof(actor=actor, kind=DESTROY_KEY, target_id=row.id.hex, approval_proof=approval_proof)
    row.destruction_due_at = timezone.now() + timedelta(days=settings.KEY_DESTRUCTION_DAYS)
    _take(row, KeyTransition.SCHEDULE_DESTRUCTION, access.higher(held, row.state_set_by), reason)
    due = row.destruction_due_at.isoformat()
    audit.write(row, AuditTag.KEY_DESTRUCTION_SCHEDULED, actor, reason=row.state_reason, due=due, **proof)
    return row


@transaction.atomic
def cancel_destruction(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Keep a key that was to be destroyed; it is disabled, and can be enabled. Raises InvalidTransition."""
    row = locked_row(key)
    access.require_manager(actor, row, StaffPermission.DESTROY)
    row.destruction_due_at = None
    _take(row, KeyTransition.CANCEL_DESTRUCTION, LockAuthority(row.state_set_by), "Destruction was cancelled.")
    audit.write(row, AuditTag.KEY_DESTRUCTION_CANCELLED, actor, **_said(reason))
    return row


@transaction.atomic
def remove_failed_key(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Put a key that could not be made out of sight; a job ends what its HSM has of it. Raises InvalidTransition."""
    row = locked_row(key)
    access.require_manager(actor, row)
    row.state = states.after(row.state, KeyTransition.REMOVE)
    destruction.overwrite(row)
    audit.save_state(row, "encrypted_secret_key", "encrypted_half_key", "key_tweak")
    audit.write(row, AuditTag.KEY_DESTROYED, actor, reason=clean_reason(f"It could not be made. {reason}"))
    return row


@transaction.atomic
def seal_owner(*, actor: Actor, key: PersonalKey, reason: str) -> None:
    """Take the owner that the key's row names as right, after a repair by hand; for ``manage.py seal_rows`` alone."""
    if actor.type != ActorType.COMMAND:
        raise NotPermitted
    row = locked_row(key)
    PersonalKey.objects.filter(pk=row.pk).update(owner_seal=OWNER.of(row))
    audit.write(row, AuditTag.ROW_SEALED, actor, what="owner", row=row.user_id.hex, reason=reason)


def convert_key(*, actor: Actor, key: PersonalKey) -> Conversion:
    """Move an encrypted key to the split mode that Cloud KMS authorises, under the same public key; never back.

    Begun here; jobs finish it, and the key signs as before until then. Callers ask for a fresh re-authentication
    first. One that is under way is returned as it is. Raises as keys.split.conversion.services.begin_conversion.
    """
    return conversion.begin_conversion(actor=actor, key=key)


def cancel_conversion(*, actor: Actor, key: PersonalKey, reason: str = "") -> None:
    """Leave the key as it is, also after a failed attempt. Raises NotPermitted, NotConverting."""
    conversion.cancel_conversion(actor=actor, key=key, reason=clean_reason(reason))


def refuse_successor(*, actor: Actor, key: PersonalKey, reason: str = "") -> None:
    """Refuse an HSM key that waits to authorise for this key in the present one's place; a job tells the co-signer.

    Raises NotPermitted, NothingToRefuse.
    """
    succession.refuse(actor=actor, key=key, reason=clean_reason(reason))


def end_reading(*, actor: Actor, key: PersonalKey, client: str) -> None:
    """End an app's reading grant at the co-signer (``client``: its public key, 64 hex digits) before its time.

    Raises NotPermitted, NoCapability.
    """
    reading.end(actor=actor, key=key, client=client)


def end_reading_of_app(*, key_id: UUID, client: str) -> None:
    """The same, by a job, because the app's access is ended or stopped; for bunker.services, which record that."""
    reading.end_of_app(key_id, client)


def destroy_due_keys(*, actor: Actor | None = None, now: datetime | None = None) -> int:
    """Destroy every key whose day has come, each in its own transaction; returns how many. Safe to repeat."""
    return destruction.destroy_due(actor or Actor.system("jobs"), now or timezone.now())


def destroy_restored_key(*, actor: Actor, key_id: UUID) -> bool:
    """Destroy again what a restored backup brought back; whether it had. For ``manage.py after_restore`` alone."""
    if actor.type != ActorType.COMMAND:
        raise NotPermitted
    # The restore journal names a key by its id alone.
    with scopes_disabled():
        return destruction.destroy_restored(actor, key_id)


def finish_pending_keys() -> int:
    """Bring every key that waits for its HSM one step on, and clean up after ended ones; returns how many changed."""
    return provisioning.finish_all()


def finish_pending_key(key_id: UUID) -> bool:
    """Finish one key, waiting a few seconds for its HSM; whether it is no longer pending."""
    return provisioning.finish_with_waits(key_id)


@transaction.atomic
def _add_one(
    actor: Actor, tenant: Tenant, wanted: WantedKey, key_mode: str | None, provider: str | None
) -> PersonalKey:
    access.require_creator(actor, tenant, wanted.user)
    backend = modes.choose(tenant, key_mode, provider, imported=wanted.secret is not None)
    return creation.create_keys(actor, tenant, backend, [wanted])[0]


@transaction.atomic
def _stop(actor: Actor, key: PersonalKey, step: KeyTransition, tag: AuditTag, reason: str) -> PersonalKey:
    row = locked_row(key)
    held = access.authority(actor, row)
    was_stopped_by = row.state_set_by if row.state != KeyState.ACTIVE else LockAuthority.OWNER
    _take(row, step, access.higher(held, was_stopped_by), reason)
    audit.write(row, tag, actor, reason=row.state_reason)
    return row


def _bring_back(actor: Actor, key: PersonalKey, step: KeyTransition, tag: AuditTag, reason: str) -> PersonalKey:
    with transaction.atomic():
        row = locked_row(key)
        held = access.require_reversible(actor, row)
        states.after(row.state, step)
        if not opens(row):
            raise KeyDamaged
        _take(row, step, held, "")
        audit.write(row, tag, actor, **_said(reason))
        return row


def _said(reason: str) -> dict[str, Any]:
    """The reason for the audit row, where one was given."""
    return {"reason": clean_reason(reason)} if reason else {}


def _take(row: PersonalKey, step: KeyTransition, set_by: LockAuthority, reason: str) -> None:
    row.state = states.after(row.state, step)
    row.state_set_by = set_by
    row.state_reason = clean_reason(reason)
    audit.save_state(row)
    if row.state != KeyState.ACTIVE:
        forget_after_commit(row.id)
