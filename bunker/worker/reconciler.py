"""Follows the outbox of changes, so that what is in memory is never more than a second behind the database.

Polls every half second, and at once when the channel layer hints. Rows are read a second time for a while after they
were first passed, because on PostgreSQL a smaller id may be committed after a larger one was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import Error
from django_scopes import scopes_disabled

from accounts.models import Tenant
from accounts.quotas import Quota, bound
from bunker.changes import ChangeKind
from bunker.models import Change, Connection
from bunker.worker.loader import all_locked, built_in_hosts, load, tenant_refusal
from bunker.worker.records import SignerRecord
from bunker.worker.snapshot import Snapshot
from keys.models import TransportKey

log = structlog.get_logger(__name__)

# A revocation holds within a second although every hint may be lost: half of it for waiting, half for reading.
POLL_SECONDS = 0.5
# Longer than a transaction that writes a change takes. One that commits later than this, with an id that was passed
# already, is not seen by polling.
OVERLAP_MS = 15_000
PAGE = 5_000
STALE_SECONDS = 5.0
"""Without a successful look for this long, nothing more is signed: a revocation might be among what was not seen."""

IDS_AT_ONCE = 5_000


class _TenantRow(NamedTuple):
    """What a change of a tenant may have changed; None is "no bound of its own"."""

    state: str
    max_signatures: int | None
    max_relays: int | None
    is_all_locked: bool


_GONE = _TenantRow(Tenant.State.SUSPENDED.value, None, None, False)

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class _Seen(NamedTuple):
    id: int
    kind: str
    object_id: UUID
    at: int


class Reconciler:
    """Keeps ``snapshot`` up to date. ``on_keys_changed`` hears of user keys and transport keys to be forgotten."""

    def __init__(
        self, snapshot: Snapshot, in_thread: InThread, forget: Callable[[UUID, UUID], None], changed: Callable[[], None]
    ) -> None:
        self._snapshot = snapshot
        self._in_thread = in_thread
        self._forget = forget
        self._changed = changed
        self._hint = asyncio.Event()
        self._lock = asyncio.Lock()
        self._low = 0
        self._seen: dict[int, int] = {}
        self._looked_at = 0.0
        self.on_connection: Callable[[], None] = lambda: None
        self.on_tenant: Callable[[UUID, bool], None] = lambda tenant_id, is_suspended: None

    def hint(self) -> None:
        """Look at the outbox now rather than at the next poll."""
        self._hint.set()

    def is_stale(self) -> bool:
        """True when changes have not been looked at for too long."""
        return time.monotonic() - self._looked_at > STALE_SECONDS

    async def start(self) -> None:
        """Read everything; from here on only changes are read."""
        # Before the rows are read: what changes while they are is then read twice, rather than never.
        self._low = await self._in_thread(_newest)
        loaded, hosts, suspended = await self._in_thread(lambda: (load(), built_in_hosts(), _suspended()))
        for tenant_id in suspended:
            self.on_tenant(tenant_id, True)
        self._snapshot.hosts = hosts
        self._snapshot.merge(loaded)
        self._looked_at = time.monotonic()
        self._changed()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), POLL_SECONDS)
            self._hint.clear()
            try:
                await self.look()
            except Error as error:
                log.warning("changes_unreadable", error=type(error).__name__)

    async def look(self) -> int:
        """Apply what has changed; how many changes there were. Raises django.db.Error."""
        # Of the moment before the question, so that a slow answer does not count as a fresh one (is_stale).
        asked_at = time.monotonic()
        low, seen = self._low, frozenset(self._seen)
        changes: list[_Seen] = await self._in_thread(lambda: _read(low, seen))
        if changes:
            await self._apply(changes)
        self._remember(changes)
        self._looked_at = asked_at
        return len(changes)

    async def reload(self, transport_ids: Collection[UUID]) -> None:
        """Read some signers again. Raises django.db.Error."""
        # One reading at a time: of two that overlap, the older could be stored over the newer.
        async with self._lock:
            loaded, self._snapshot.hosts = await self._in_thread(lambda: (load(transport_ids), built_in_hosts()))
            self._snapshot.merge(loaded, transport_ids)
            self._changed()

    async def reload_shards(self, shards: Collection[int]) -> None:
        """Read the signers of shards just taken over: their last owner's use counts are in the database only."""
        wanted = set(shards)
        ids = [s.transport.transport_id for s in self._snapshot.signers.values() if s.shard in wanted]
        if ids:
            await self.reload(ids)

    async def _apply(self, changes: list[_Seen]) -> None:
        started = time.monotonic()
        # Wiping comes first: a key that was stopped must not be used from memory while its row is being read.
        self._forget_keys(changes)
        async with self._lock:
            tenants = {change.object_id for change in changes if change.kind == ChangeKind.TENANT}
            if _ids(changes, ChangeKind.DEPLOYMENT):
                tenants |= set(self._snapshot.tenants)
            if tenants:
                await self._apply_tenants(tenants)
        ids: set[UUID] = await self._in_thread(lambda: _transports_of(changes))
        ids |= {signer.transport.transport_id for signer in self._concerned(changes)}
        await self.reload(ids)
        if any(change.kind == ChangeKind.CONNECTION for change in changes):
            self.on_connection()
        log.debug("changes_applied", changes=len(changes), seconds=round(time.monotonic() - started, 3))

    async def _apply_tenants(self, tenant_ids: set[UUID]) -> None:
        """A tenant's own state takes effect at once, however many signers it has; members are read with the rest."""
        rows: dict[UUID, _TenantRow] = await self._in_thread(lambda: _tenants(tenant_ids))
        for tenant_id in tenant_ids:
            # A tenant that is there no more is treated like a suspended one: nothing is signed for it.
            row = rows.get(tenant_id, _GONE)
            self.on_tenant(tenant_id, row.state == Tenant.State.SUSPENDED)
            record = self._snapshot.tenants.get(tenant_id)
            if record is not None:
                record.refusal = tenant_refusal(row.state, is_all_locked=row.is_all_locked)
                record.max_signatures = bound(row.max_signatures, Quota.SIGNATURES)
                record.max_relays = bound(row.max_relays, Quota.RELAYS)
                if record.refusal:
                    for signer in self._snapshot.of_tenant(tenant_id):
                        self._forget(signer.key.key_id, signer.transport.transport_id)

    def _forget_keys(self, changes: Collection[_Seen]) -> None:
        """Wipe warm caches of keys, and of users' keys, whose state may have changed."""
        transports = [self._snapshot.by_transport(object_id) for object_id in _ids(changes, ChangeKind.TRANSPORT)]
        for signer in (*self._concerned(changes), *filter(None, transports)):
            self._forget(signer.key.key_id, signer.transport.transport_id)

    def _concerned(self, changes: Collection[_Seen]) -> list[SignerRecord]:
        """Signers in memory that a change of a key or a user is about, even if the database names them no more."""
        return self._snapshot.concerned(_ids(changes, ChangeKind.KEY), _ids(changes, ChangeKind.USER))

    def _remember(self, changes: list[_Seen]) -> None:
        """Keep ids of the overlap, so that each is applied once; what is older than that is passed for good."""
        now = time.time_ns() // 1_000_000
        for change in changes:
            self._seen[change.id] = change.at
        # In order of ids: _low may only pass what has no younger change before it, or that one would be skipped.
        for change_id, at in sorted(self._seen.items()):
            if at > now - OVERLAP_MS:
                break
            self._low = max(self._low, change_id)
            del self._seen[change_id]


def _newest() -> int:
    """The id up to which the outbox need not be read: rows of the overlap are read again."""
    since = time.time_ns() // 1_000_000 - OVERLAP_MS
    newest = Change.objects.filter(at__lt=since).order_by("-id").values_list("id", flat=True).first()
    return newest or 0


def _read(low: int, seen: Collection[int]) -> list[_Seen]:
    """Every change after ``low`` that is not among ``seen``: the newest stand behind all those of the overlap."""
    found: list[_Seen] = []
    while True:
        rows = list(
            Change.objects.filter(id__gt=low).order_by("id").values_list("id", "kind", "object_id", "at")[:PAGE]
        )
        found += [_Seen(id_, kind, UUID(object_id), at) for id_, kind, object_id, at in rows if id_ not in seen]
        if len(rows) < PAGE:
            return found
        low = rows[-1][0]


def _ids(changes: Iterable[_Seen], kind: ChangeKind) -> set[UUID]:
    return {change.object_id for change in changes if change.kind == kind}


def _suspended() -> list[UUID]:
    return list(Tenant.objects.filter(state=Tenant.State.SUSPENDED).values_list("id", flat=True))


def _tenants(tenant_ids: Collection[UUID]) -> dict[UUID, _TenantRow]:
    """Tenants as they are now, by id."""
    rows = Tenant.objects.annotate(is_all_locked=all_locked())
    found: dict[UUID, _TenantRow] = {}
    ids = list(tenant_ids)
    for start in range(0, len(ids), IDS_AT_ONCE):
        wanted = rows.filter(id__in=ids[start : start + IDS_AT_ONCE]).values_list("id", *_TenantRow._fields)
        found |= {tenant_id: _TenantRow(*columns) for tenant_id, *columns in wanted}
    return found


def _transports_of(changes: Collection[_Seen]) -> set[UUID]:
    """Transport keys that the changes concern."""
    by_kind: dict[str, list[UUID]] = {}
    for change in changes:
        by_kind.setdefault(change.kind, []).append(change.object_id)
    found: set[UUID] = set(by_kind.get(ChangeKind.TRANSPORT, ()))
    # Changes come from every tenant.
    with scopes_disabled():
        if ids := by_kind.get(ChangeKind.CONNECTION):
            found |= set(Connection.objects.filter(id__in=ids).values_list("transport_id", flat=True))
        if ids := by_kind.get(ChangeKind.KEY):
            found |= set(TransportKey.objects.filter(key_id__in=ids).values_list("id", flat=True))
        if ids := by_kind.get(ChangeKind.USER):
            found |= set(TransportKey.objects.filter(key__user_id__in=ids).values_list("id", flat=True))
    return found
