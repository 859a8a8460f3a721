"""Brings a restored database up to date with what the restore journal knows, through the services, one by one.

Everything may run twice: what is as it should be already is passed over. Where the file knows that an object was
stopped, it is stopped; nothing is ever brought into use here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.contrib.sessions.models import Session
from django.db import transaction
from django_scopes import scopes_disabled

from accounts import services as people
from accounts.models import Membership, Tenant, User
from accounts.panic.selectors import deployment_lock
from accounts.panic.services import lock_deployment
from bunker.models import Connection, ConnectionState
from bunker.services import lock_connection, revoke_connection
from keycast.audit import journal_writer
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.restore_journal import JournalEntry
from keycast.audit.services import PLATFORM, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keycast.operations.backup.facts import JournalFacts, Member, facts_from
from keys import services as keys
from keys.exporting.services import cancel_restored
from keys.models import KeyExport, KeyState, PersonalKey
from keys.models.exports import OPEN
from keys.rotation import selectors as rotation_selectors
from keys.rotation import services as rotations

ACTOR: Final = Actor.command("after_restore")
REASON_STOPPED: Final = "It was so before this backup was restored."
REPLACED: Final = "It had been replaced by a new key before this backup was restored."
UNUSED: Final = "A one-time secret does not survive the restore of a backup."
_LIVE: Final = (ConnectionState.PENDING, ConnectionState.ACTIVE, ConnectionState.LOCKED)


@dataclass(slots=True)
class ReconcileReport:
    """What was done, by kind of thing; what the restore lost; and what could not be done, in words."""

    done: Counter[str] = field(default_factory=Counter)
    lost_keys: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"done": dict(sorted(self.done.items())), "lost_keys": self.lost_keys, "problems": self.problems}


def reconcile(journal_entries: Sequence[JournalEntry]) -> ReconcileReport:
    """Apply ``journal_entries`` (in their order) to this database, and say so in its log. Raises AuditUnavailable."""
    facts, outcomes = facts_from(journal_entries), ReconcileReport()
    # A restored database is reconciled as a whole.
    with scopes_disabled(), journal_writer.restoring():
        outcomes.lost_keys = _lost_keys(facts)
        for thing, row, act in _wanted(facts):
            _do(outcomes, thing, row, act)
        with transaction.atomic():
            outcomes.done["sessions ended"] = Session.objects.all().delete()[0]
            data = {"endings": len(journal_entries), "lost_keys": len(outcomes.lost_keys), **outcomes.done}
            if not outcomes.problems:  # else the database stays closed, and the command can be run again
                record(AuditEntry(PLATFORM, AuditTag.DATABASE_RESTORED, AuditOutcome.OK, ACTOR, data=data))
    journal_writer.reset_check()
    return outcomes


def preview(journal_entries: Sequence[JournalEntry]) -> ReconcileReport:
    """What ``reconcile`` would do; changes nothing."""
    # A restored database is looked at as a whole.
    with scopes_disabled():
        facts, outcomes = facts_from(journal_entries), ReconcileReport()
        outcomes.lost_keys = _lost_keys(facts)
        outcomes.done.update(thing for thing, _, _ in _wanted(facts))
        outcomes.done["sessions ended"] = Session.objects.count()
    return outcomes


def _wanted(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    """What is not as the facts say: what it is called in the report, its row, and what to do with it."""
    yield from _keys(facts)
    yield from _rotations()
    for export in KeyExport.objects.filter(state__in=OPEN).select_related("key"):
        yield "exports cancelled", export, lambda row: cancel_restored(actor=ACTOR, export=row)
    yield from _connections(facts)
    yield from _people(facts)
    yield from _members(facts)
    yield from _tenants(facts)
    if facts.is_deployment_locked and deployment_lock().locked_at is None:
        yield "deployments locked", "all", lambda _: lock_deployment(actor=ACTOR, reason=REASON_STOPPED)


def _keys(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    for key in _rows(PersonalKey.objects.exclude(state=KeyState.DESTROYED), facts.destroyed):
        yield "keys destroyed again", key, lambda key: keys.destroy_restored_key(actor=ACTOR, key_id=key.id)
    reasons = {**facts.stopped_keys, **facts.changed_keys}
    in_use = PersonalKey.objects.filter(state=KeyState.ACTIVE)
    for key in _rows(in_use, set(reasons) - facts.destroyed):
        reason = reasons[key.id.hex]
        yield "keys locked", key, lambda key, reason=reason: keys.lock_key(actor=ACTOR, key=key, reason=reason)

    unaware = PersonalKey.objects.filter(state=KeyState.ACTIVE, replaced_at=None)
    for key in _rows(unaware, facts.replaced_keys - set(reasons) - facts.destroyed):
        yield "replaced keys locked", key, lambda key: keys.lock_key(actor=ACTOR, key=key, reason=REPLACED)


def _rotations() -> Iterator[tuple[str, Any, Any]]:
    """What was under way when the dump was made is over, or was begun for reasons that are."""
    for rotation in rotation_selectors.unfinished():
        yield "rotations cancelled", rotation, lambda row: rotations.cancel(actor=ACTOR, rotation=row)


def _connections(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    """Ended ones end again; every secret that waits for its use is withdrawn, for it may have been used since."""
    for connection in _rows(Connection.objects.filter(state__in=_LIVE[1:]), facts.ended):
        yield (
            "apps ended again",
            connection,
            lambda row: revoke_connection(actor=ACTOR, connection=row, reason=REASON_STOPPED),
        )
    for connection in Connection.objects.filter(state=ConnectionState.PENDING).select_related("key"):
        yield (
            "one-time secrets withdrawn",
            connection,
            lambda row: revoke_connection(actor=ACTOR, connection=row, reason=UNUSED),
        )
    active = Connection.objects.filter(state=ConnectionState.ACTIVE)
    for connection in _rows(active, facts.locked_connections - facts.ended):
        yield "apps locked", connection, lambda row: lock_connection(actor=ACTOR, connection=row, reason=REASON_STOPPED)


def _people(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    for user in _rows(User.objects.filter(locked_at=None), facts.locked_users):
        yield "people locked", user, lambda row: people.lock_user(actor=ACTOR, user=row, reason=REASON_STOPPED)
    for user in _rows(User.objects.filter(is_active=True), facts.closed_users):
        yield "accounts closed", user, lambda row: people.deactivate_user(actor=ACTOR, user=row, reason=REASON_STOPPED)
    for user in _rows(User.objects.filter(is_staff=True), facts.former_staff):
        yield "staff ended", user, lambda row: people.end_staff(actor=ACTOR, user=row, reason=REASON_STOPPED)


def _members(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    for place in _places(facts.removed_members):
        yield (
            "members removed",
            place,
            lambda row: people.remove_member(actor=ACTOR, membership=row, by=None, reason=REASON_STOPPED),
        )
    for place in _places(facts.suspended_members - facts.removed_members):
        if place.state == Membership.State.ACTIVE:
            yield (
                "members suspended",
                place,
                lambda row: people.suspend_member(actor=ACTOR, membership=row, by=None, reason=REASON_STOPPED),
            )


def _tenants(facts: JournalFacts) -> Iterator[tuple[str, Any, Any]]:
    active = Tenant.objects.exclude(state=Tenant.State.SUSPENDED)
    for tenant in _rows(active, facts.suspended_tenants):
        yield (
            "tenants suspended",
            tenant,
            lambda row: people.suspend_tenant(actor=ACTOR, tenant=row, reason=REASON_STOPPED),
        )
    active = Tenant.objects.filter(state=Tenant.State.ACTIVE)
    for tenant in _rows(active, facts.locked_tenants - facts.suspended_tenants):
        yield "tenants locked", tenant, lambda row: people.lock_tenant(actor=ACTOR, tenant=row, reason=REASON_STOPPED)


def _rows(rows: Any, ids: Iterable[str]) -> Iterator[Any]:
    """Those of ``rows`` that have one of ``ids``, a few hundred at a time."""
    wanted = sorted(identifier for identifier in map(_uuid, ids) if identifier is not None)
    for start in range(0, len(wanted), 500):
        yield from list(rows.filter(pk__in=wanted[start : start + 500]))


def _places(members: Iterable[Member]) -> Iterator[Membership]:
    for tenant, user in sorted(members):
        ids = _uuid(tenant), _uuid(user)
        if ids[0] is not None and ids[1] is not None:
            yield from Membership.objects.filter(tenant_id=ids[0], user_id=ids[1])


def _lost_keys(facts: JournalFacts) -> dict[str, str]:
    """Keys that came to be after the dump: what the restore lost, public key by id."""
    made = {identifier for key in facts.made if key not in facts.destroyed and (identifier := _uuid(key))}
    here = {row.id for row in _rows(PersonalKey.objects.only("id"), (identifier.hex for identifier in made))}
    return {identifier.hex: facts.made[identifier.hex] for identifier in sorted(made - here)}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(hex=text)
    except ValueError:  # the chain of the platform, or a line that was spoilt
        return None


def _do(outcomes: ReconcileReport, thing: str, row: Any, act: Any) -> None:
    with _told(outcomes, f"{thing}: {row}"):
        act(row)
        outcomes.done[thing] += 1


@contextmanager
def _told(outcomes: ReconcileReport, what: str) -> Iterator[None]:
    try:
        yield
    except KeycastError as error:
        outcomes.problems.append(f"{what}: {error.public_message}")
