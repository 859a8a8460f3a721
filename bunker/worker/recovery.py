"""Finishes what was begun: requests that a dead worker, or this one's predecessor, had claimed or not yet published.

Runs for every shard that a worker takes over, and now and then for what fell between (a lost COMMIT answer).
``CLAIMED``: the earlier intent is closed as unknown and the request carried out once more; its row can be finished
once only, so the client gets one answer. ``ANSWERED``: the stored reply is published again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from bunker.models import Request, RequestState
from bunker.worker.admission import AdmissionControl, IncomingRequest
from bunker.worker.delivery import Delivery
from bunker.worker.engine import Engine
from bunker.worker.leases import HeldLeases
from bunker.worker.ledger import REMEMBER_MS
from bunker.worker.publisher import Publisher
from bunker.worker.records import ConnectionRecord, SignerRecord, standing
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats
from keycast.nostr.nip01 import EventError, parse_event
from keycast.nostr.nip46 import Nip46Method

log = structlog.get_logger(__name__)

ANYWHERE = "recovered"
"""The relay of a recovered request is not known: its reply goes to all of its connection's."""
FRESH_MS = 600_000
AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class UnfinishedRequest:
    """One row that stands between claim and publication."""

    event_id: str
    transport_id: UUID
    connection_id: UUID | None
    client: str
    shard: int
    method: str
    state: str
    event: str
    reply: str
    claimed_at: int


def claim_unfinished(
    fences: Mapping[int, int], skip: Collection[str], older_than_ms: int, *, only_new: bool
) -> list[UnfinishedRequest]:
    """Put this worker's fence on unfinished rows of its shards and read them. Blocks.

    From then on only this worker can store their results: whoever claimed them carries an older fence. With
    ``only_new``, just the rows that no worker has had yet: answers to nostrconnect:// URIs (fence 0).
    """
    before = time.time_ns() // 1_000_000 - older_than_ms
    with transaction.atomic():
        found = Request.objects.select_for_update().filter(
            shard__in=list(fences), state__in=[RequestState.CLAIMED, RequestState.ANSWERED], claimed_at__lte=before
        )
        if only_new:
            found = found.filter(fence=0)
        rows = list(found.order_by("claimed_at")[:AT_ONCE])
        rows = [row for row in rows if row.event_id not in skip]
        for shard, fence in fences.items():
            ids = [row.event_id for row in rows if row.shard == shard and row.fence != fence]
            if ids:
                Request.objects.filter(event_id__in=ids).update(fence=fence)
    return [_unfinished(row) for row in rows]


def just_answered(since: Mapping[int, int]) -> list[UnfinishedRequest]:
    """Replies that a dead worker stored in its last seconds, and may not have published any more. Blocks.

    ``since`` maps each shard to the Unix time in milliseconds from which its requests count. Clients that have such
    a reply already ignore it.
    """
    earliest = min(since.values())
    rows = Request.objects.filter(
        expires_at__gte=earliest + REMEMBER_MS, shard__in=list(since), state=RequestState.PUBLISHED
    ).order_by("-expires_at")[:AT_ONCE]
    return [_unfinished(row) for row in rows if row.claimed_at >= since[row.shard]]


def _unfinished(row: Request) -> UnfinishedRequest:
    return UnfinishedRequest(
        row.event_id, row.transport_id, row.connection_id, row.client_public_key, row.shard, row.method,
        row.state, row.event, row.reply, row.claimed_at,
    )  # fmt: skip


def renounce(event_ids: Collection[str]) -> None:
    """Mark rows that nobody can answer any more. Blocks."""
    Request.objects.filter(
        event_id__in=list(event_ids), state__in=[RequestState.CLAIMED, RequestState.ANSWERED]
    ).update(state=RequestState.ABANDONED)


def _may_go_out(row: UnfinishedRequest, connection: ConnectionRecord | None, signer: SignerRecord) -> bool:
    """Nothing is released for a connection that ended meanwhile, except the confirmation of its own logout."""
    if connection is None or row.method == Nip46Method.LOGOUT:
        return connection is not None
    return connection.id == row.connection_id and standing(signer, connection, time.time()) is None


class Recovery:
    """Takes over and resumes. ``in_thread`` runs database work outside the event loop."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        holding: HeldLeases,
        gate: AdmissionControl,
        engine: Engine,
        delivery: Delivery,
        publisher: Publisher,
        stats: WorkerStats,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._snapshot = snapshot
        self._holding = holding
        self._gate = gate
        self._engine = engine
        self._delivery = delivery
        self._publisher = publisher
        self._stats = stats
        self._in_thread = in_thread

    async def repeat(self, since: Mapping[int, int]) -> None:
        """Publish the last replies of shards whose owner died (``since`` as for ``just_answered``) once more."""
        if since:
            for row in await self._in_thread(lambda: just_answered(since)):
                signer = self._snapshot.by_transport(row.transport_id)
                connection = None if signer is None else signer.clients.get(row.client)
                if signer is not None and _may_go_out(row, connection, signer):
                    self._delivery.republish(row.reply, signer, connection, ANYWHERE, None)
                    self._stats.recovered += 1

    async def recover(self, shards: Collection[int], *, older_than_ms: int = 0, only_new: bool = False) -> int:
        """Finish everything unfinished in ``shards``; how many rows there were."""
        fences = {shard: fence for shard in shards if (fence := self._holding.fence_to_finish(shard))}
        if not fences:
            return 0
        skip = self._gate.at_work_on() | self._publisher.pending
        rows: list[UnfinishedRequest] = await self._in_thread(
            lambda: claim_unfinished(fences, skip, older_than_ms, only_new=only_new)
        )
        # Asked again: while the thread claimed the rows, this worker may have taken up some of their requests itself.
        skip = self._gate.at_work_on() | self._publisher.pending
        hopeless = [
            row.event_id for row in rows if row.event_id not in skip and not self._resume(row, fences[row.shard])
        ]
        if hopeless:
            # Said in their rows, or each look for unfinished ones would find them again.
            await self._in_thread(lambda: renounce(hopeless))
        if rows:
            log.info("requests_recovered", rows=len(rows), abandoned=len(hopeless))
        return len(rows)

    def _resume(self, row: UnfinishedRequest, fence: int) -> bool:
        """Carry on with one row; False when that is no longer possible."""
        signer = self._snapshot.by_transport(row.transport_id)
        if signer is None or time.time_ns() // 1_000_000 - row.claimed_at > FRESH_MS:
            return False
        connection = signer.clients.get(row.client)
        if row.state == RequestState.ANSWERED:
            if not _may_go_out(row, connection, signer):
                return False
            self._delivery.republish(row.reply, signer, connection, ANYWHERE, row.event_id)
            self._stats.recovered += 1
            return True
        try:
            event = parse_event(row.event)
        except EventError:
            return False
        # The client may have been revoked and let in anew: what its former connection asked for is not done under this.
        if connection is None or connection.id != row.connection_id:
            return False
        item = IncomingRequest(event, row.event.encode(), ANYWHERE, signer, connection, time.monotonic())
        self._gate.spawn(item, self._engine.resume(item, fence))
        return True
