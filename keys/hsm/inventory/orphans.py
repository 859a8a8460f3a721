"""Keys in an HSM that no row names: remembered, left alone, and destroyed only when two people said so."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keys.errors import InvalidTransition, KeyNotFound
from keys.hsm import registration
from keys.hsm.inventory.listing import hsm_key_readers
from keys.hsm.inventory.naming import named
from keys.lifecycle.text import clean_reason
from keys.models import HsmOrphan, OrphanState

logger = logging.getLogger(__name__)

_SEEN: Final = (OrphanState.GONE, OrphanState.DESTROYED)
_UNDECIDED: Final = (OrphanState.OPEN, OrphanState.IGNORED)
_NAMED: Final = "A row names this key now: it is no orphan."
MAX_PER_RUN: Final = 50


def record_orphan(provider: str, name: str, versions: list[str]) -> HsmOrphan:
    """Remember that an inventory found this key, with these versions. One that was gone is open again."""
    orphan, is_new = HsmOrphan.objects.get_or_create(name=name, defaults={"provider": provider, "versions": versions})
    if not is_new:
        orphan.versions, orphan.last_seen_at = versions, timezone.now()
        if orphan.state in _SEEN:
            orphan.state, orphan.reason = OrphanState.OPEN, ""
        orphan.save(update_fields=["versions", "last_seen_at", "state", "reason"])
    return orphan


def close_unseen(provider: str, since: datetime) -> None:
    """After an inventory that began at ``since``: what it did not find is no longer there, or no longer an orphan."""
    unseen = HsmOrphan.objects.filter(provider=provider, last_seen_at__lt=since)
    unseen.filter(state__in=[*_UNDECIDED, OrphanState.DOOMED]).update(state=OrphanState.GONE)


@transaction.atomic
def ignore(*, actor: Actor, orphan: HsmOrphan, reason: str) -> HsmOrphan:
    """Leave it as it is, for a reason; inventories do not tell of it any more. Raises InvalidTransition."""
    row = _locked(orphan, OrphanState.OPEN)
    return _decided(row, OrphanState.IGNORED, actor, AuditTag.HSM_ORPHAN_IGNORED, reason)


@transaction.atomic
def reopen(*, actor: Actor, orphan: HsmOrphan, reason: str) -> HsmOrphan:
    """Take back what was decided, as long as nothing has been done. Raises InvalidTransition."""
    row = _locked(orphan, OrphanState.IGNORED, OrphanState.DOOMED)
    return _decided(row, OrphanState.OPEN, actor, AuditTag.HSM_ORPHAN_REOPENED, reason)


@transaction.atomic
def condemn(*, actor: Actor, orphan: HsmOrphan, reason: str, asked_by: str = "") -> HsmOrphan:
    """Have a job destroy it in the HSM. Callers have made sure that two people want it. Raises InvalidTransition."""
    row = _locked(orphan, *_UNDECIDED)
    if named([row.name]):
        raise InvalidTransition(_NAMED)
    row.problem = ""
    return _decided(row, OrphanState.DOOMED, actor, AuditTag.HSM_ORPHAN_CONDEMNED, reason, asked_by=asked_by)


def destroy_condemned() -> int:
    """Destroy what was condemned, one after the other; how many that ended. Safe to repeat. Never raises for an HSM."""
    doomed = HsmOrphan.objects.filter(state=OrphanState.DOOMED).order_by("decided_at")
    return sum(_destroy(orphan_id) for orphan_id in list(doomed.values_list("pk", flat=True)[:MAX_PER_RUN]))


def orphan_of(orphan_id: str) -> HsmOrphan:
    """One of them, by its id. Raises KeyNotFound."""
    try:
        found = HsmOrphan.objects.filter(pk=UUID(orphan_id)).first()
    except ValueError:
        found = None
    if found is None:
        raise KeyNotFound
    return found


def _destroy(orphan_id: UUID) -> bool:
    """The HSM is asked outside any transaction; that this was decided is on disk, and every call can be repeated."""
    orphan = HsmOrphan.objects.get(pk=orphan_id)
    stock, keeper = hsm_key_readers().get(orphan.provider), registration.hsm_key_managers().get(orphan.provider)
    if stock is None or keeper is None:
        return False
    if named([orphan.name]):
        HsmOrphan.objects.filter(pk=orphan_id).update(state=OrphanState.OPEN, problem=_NAMED)
        return False
    try:
        held = stock.look(orphan.name)
        ended = [version.name for version in held.alive] if held else []
        for version in ended:
            keeper.destroy(version)
    except KeycastError as error:
        logger.warning("an orphan is not destroyed yet", extra={"orphan_id": str(orphan_id), "code": error.code})
        HsmOrphan.objects.filter(pk=orphan_id).update(problem=error.public_message[:200])
        return False
    return _ended(orphan_id, ended)


@transaction.atomic
def _ended(orphan_id: UUID, versions: list[str]) -> bool:
    row = HsmOrphan.objects.select_for_update().get(pk=orphan_id)
    if row.state != OrphanState.DOOMED:
        logger.error("an orphan was destroyed while that was taken back", extra={"orphan_id": str(orphan_id)})
    row.state, row.problem = OrphanState.DESTROYED, ""
    row.save(update_fields=["state", "problem"])
    _note(row, AuditTag.HSM_ORPHAN_DESTROYED, Actor.system("jobs"), versions=len(versions))
    return True


def _locked(orphan: HsmOrphan, *expected: OrphanState) -> HsmOrphan:
    row = HsmOrphan.objects.select_for_update().filter(pk=orphan.pk).first()
    if row is None:
        raise KeyNotFound
    if row.state not in expected:
        raise InvalidTransition(f"This key of the HSM is: {OrphanState(row.state).label.lower()}.")
    return row


def _decided(row: HsmOrphan, state: OrphanState, actor: Actor, tag: AuditTag, reason: str, **data: str) -> HsmOrphan:
    row.state, row.reason = state, clean_reason(reason)
    row.decided_by, row.decided_at = actor.label[:200], timezone.now()
    row.save(update_fields=["state", "reason", "decided_by", "decided_at", "problem"])
    _note(row, tag, actor, reason=row.reason, **data)
    return row


def _note(row: HsmOrphan, tag: AuditTag, actor: Actor, **data: object) -> None:
    told = {"provider": row.provider, "hsm_key": row.name, **data}
    record(AuditEntry(chain_of(None), tag, AuditOutcome.OK, actor, data=told))
