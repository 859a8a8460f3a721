"""The end of a key: its sealed material is overwritten, a tombstone with its public key stays."""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keys.lifecycle import audit, states
from keys.lifecycle.erasure import wipe_conversion
from keys.lifecycle.states import KeyTransition
from keys.models import Conversion, ConversionStep, HalfRefresh, KeyState, PersonalKey, TransportKey
from keys.signing.runtime import forget_after_commit


def destroy_due(actor: Actor, now: datetime) -> int:
    """Destroy every key whose day has come, one transaction each; returns how many."""
    # A job destroys what is due in every tenant.
    with scopes_disabled():
        due = PersonalKey.objects.filter(state=KeyState.DESTRUCTION_SCHEDULED, destruction_due_at__lte=now)
        found = list(due.values_list("pk", "tenant_id"))
    destroyed = sum(_destroy(key_id, tenant_id, actor, now) for key_id, tenant_id in found)
    if destroyed:
        _forget_old_pages()
    return destroyed


def _destroy(key_id: UUID, tenant_id: UUID, actor: Actor, now: datetime) -> bool:
    _wipe_freed_pages()
    with scope(tenant=tenant_id), transaction.atomic():
        row = PersonalKey.objects.select_for_update().filter(pk=key_id).first()
        # Looked at again under the lock: it may have been cancelled, or destroyed by another process.
        if row is None or row.state != KeyState.DESTRUCTION_SCHEDULED or _is_early(row, now):
            return False
        overwrite(row)
        row.state = states.after(row.state, KeyTransition.DESTROY)
        audit.save_state(row, "encrypted_secret_key", "encrypted_half_key", "key_tweak")
        forget_after_commit(row.id)
        audit.write(row, AuditTag.KEY_DESTROYED, actor, public_key=row.public_key or "")
    return True


@transaction.atomic
def destroy_restored(actor: Actor, key_id: UUID) -> bool:
    """Destroy a key that a restored backup brought back, whatever its state; whether there was anything to destroy."""
    _wipe_freed_pages()
    row = PersonalKey.objects.select_for_update().filter(pk=key_id).exclude(state=KeyState.DESTROYED).first()
    if row is None:
        return False
    overwrite(row)
    row.state, row.destruction_due_at = KeyState.DESTROYED, None
    row.state_reason = "It had been destroyed before this backup was restored."
    audit.save_state(row, "encrypted_secret_key", "encrypted_half_key", "key_tweak")
    forget_after_commit(row.id)
    audit.write(row, AuditTag.KEY_DESTROYED, actor, public_key=row.public_key or "", reason=row.state_reason)
    return True


def _is_early(row: PersonalKey, now: datetime) -> bool:
    return row.destruction_due_at is None or row.destruction_due_at > now


def overwrite(row: PersonalKey) -> None:
    """Random bytes in place of every sealed secret, then nothing: a freed cell must not keep the old ones."""
    for transport in TransportKey.objects.filter(key=row):
        transport.encrypted_secret_key = os.urandom(len(transport.encrypted_secret_key))
        transport.is_current = False
        transport.retired_at = transport.retired_at or timezone.now()
        transport.save(update_fields=["encrypted_secret_key", "is_current", "retired_at"])
    HalfRefresh.objects.filter(key=row).delete()
    for going in Conversion.objects.filter(key=row).exclude(step=ConversionStep.FAILED):
        wipe_conversion(going)
    _overwrite_field(row, "encrypted_secret_key")
    _overwrite_field(row, "encrypted_half_key")
    row.key_tweak = ""


def _overwrite_field(row: PersonalKey, field: str) -> None:
    blob = getattr(row, field)
    if blob is not None:
        PersonalKey.objects.filter(pk=row.pk).update(**{field: os.urandom(len(blob))})
        setattr(row, field, None)


def _wipe_freed_pages() -> None:
    """SQLite leaves deleted content in its file unless told otherwise. PostgreSQL: see docs/security-model.md."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")


def _forget_old_pages() -> None:
    """Old versions of a page live in SQLite's write-ahead log until it is cut."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
