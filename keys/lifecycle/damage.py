"""What happens when stored key material fails its check: an alert always, quarantine when it is another key's."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection, transaction
from django_scopes import scopes_disabled

from accounts.models import LockAuthority
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keys.errors import KeyDamaged, KeyMismatch
from keys.lifecycle import audit
from keys.models import KeyState, PersonalKey

logger = logging.getLogger(__name__)

ALERT_INTERVAL: Final = 60.0
_ALERTS_KEPT: Final = 10_000
_alerted_at: dict[UUID, float] = {}
_ACTOR: Final = Actor.system("custody")


async def report_damage(key_id: UUID, damage: KeyDamaged) -> None:
    """Record it from the event loop, at most once a minute for a key. Never raises: the caller refuses anyway."""
    now = time.monotonic()
    if now - _alerted_at.get(key_id, -ALERT_INTERVAL) < ALERT_INTERVAL:
        return
    if len(_alerted_at) >= _ALERTS_KEPT:
        _alerted_at.clear()
    _alerted_at[key_id] = now
    try:
        await asyncio.to_thread(_record_in_thread, key_id, damage)
    except (DatabaseError, KeycastError) as error:
        _alerted_at.pop(key_id, None)
        logger.critical("damaged key not recorded", extra={"key_id": str(key_id), "error": type(error).__name__})


def record_damage(key_id: UUID, damage: KeyDamaged) -> None:
    """Write the alert, and lock the key when its material opened to another public key (threats K1, K5).

    Material that does not open at all locks nothing: a wrong key-encryption key would lock every key.
    """
    logger.critical("stored key material failed its check", extra={"key_id": str(key_id), "code": damage.code})
    # Who opened it knows a key by its id alone.
    with scopes_disabled(), transaction.atomic():
        key = PersonalKey.objects.select_for_update().filter(pk=key_id).first()
        if key is None:
            return
        if isinstance(damage, KeyMismatch):
            _quarantine(key)
        audit.write(
            key, AuditTag.KEY_QUARANTINED, _ACTOR, AuditOutcome.FAILED, cause=type(damage).__name__, state=key.state
        )


def _quarantine(key: PersonalKey) -> None:
    """Lock a key that is in use; whatever its state, only staff can bring it back."""
    if key.state == KeyState.ACTIVE:
        key.state = KeyState.LOCKED
    key.state_reason = "Integrity check failed: the stored material belongs to another public key."
    key.state_set_by = LockAuthority.SYSTEM
    audit.save_state(key)


def _record_in_thread(key_id: UUID, damage: KeyDamaged) -> None:
    close_old_connections()
    try:
        record_damage(key_id, damage)
    finally:
        connection.close()
