"""Makes requests and their answers durable (steps 8, 11 and 13 of bunker.md).

Nothing is released before what says so in the audit log is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from bunker.methods import KeyMethod, Operation
from bunker.traffic.counts import FAILED
from bunker.worker.admission import IncomingRequest
from bunker.worker.commit_jobs import (
    ABANDONED,
    ANSWERED,
    CLAIMED,
    PUBLISHED,
    STORED,
    AlreadyClaimed,
    AuditWrite,
    ClaimWrite,
    ReplyWrite,
)
from bunker.worker.delivery import Delivery
from bunker.worker.envelopes import Envelopes
from bunker.worker.group_commit import BatchWriter, CommitUncertain
from bunker.worker.leases import HeldLeases
from bunker.worker.records import ConnectionRecord
from bunker.worker.replies import ReplyEvent
from bunker.worker.sql import RELEASED_ID, FinishRow, RequestRow
from bunker.worker.stats import WorkerStats
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.tags import AuditOutcome, AuditTag, of_method
from keycast.base import crash
from keycast.base.errors import Unavailable
from keycast.nostr.nip46 import Nip46Request

REMEMBER_MS = 24 * 3600 * 1000
"""How long a request is remembered: longer than any relay resends it."""
FINISH_PAUSES = (0.1, 0.3, 1.0, 2.0)
REUSED_ID = "This request id was already used for another request."
_RESERVED = ("sha256:", RELEASED_ID, "nostrconnect:")
"""How request ids begin that are stored in our own way."""
_encode = msgspec.json.Encoder().encode


class Ledger:
    """Writes through the group-commit writer, under the fence of the request's shard.

    Its methods raise Uncertain when nobody can say whether something was stored; otherwise a request that could not be
    stored has been answered with what its client may know by the time they return False.
    """

    def __init__(
        self,
        *,
        writer: BatchWriter,
        holding: HeldLeases,
        envelopes: Envelopes,
        delivery: Delivery,
        stats: WorkerStats,
        forget: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._holding = holding
        self._envelopes = envelopes
        self._delivery = delivery
        self._stats = stats
        self._forget = forget

    async def claim(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request: Nip46Request,
        body: bytes,
        operation: Operation,
    ) -> bool:
        """Claim the request, with its audit intent when it uses the key; True when it is ours to carry out."""
        fence = self._holding.fence(item.signer.shard)
        row = self._row(item, connection, request.id, request.method, body, fence)
        entries: tuple[AuditEntry, ...] = ()
        counted = None
        if isinstance(operation, KeyMethod):
            entries = (entry_of(item, operation.tag, AuditOutcome.INTENT, operation.facts),)
            counted = connection.hex if connection.is_counted else None
        crash.point("before-claim")
        return await self._store(item, request.id, body, ClaimWrite(row, entries, counted))

    async def settle(
        self,
        item: IncomingRequest,
        request_id: str,
        method: str,
        body: bytes,
        text: str,
        entries: tuple[AuditEntry, ...],
    ) -> bool:
        """Claim and answer in one commit, then publish."""
        fence = self._holding.fence(item.signer.shard)
        reply = await self._envelopes.reply(item, text)
        row = self._row(item, item.connection, request_id, method, body, fence, reply)
        if not await self._store(item, request_id, body, ClaimWrite(row, entries, None)):
            return False
        self._delivery.let_out(item, item.connection, reply)
        return True

    async def finish(
        self, item: IncomingRequest, reply: ReplyEvent, fence: int, entries: tuple[AuditEntry, ...], request_id: str
    ) -> bool:
        """Make the reply and its audit result durable; tries again for a while when the database is away."""
        row = FinishRow(item.event.id, fence, self._delivery.state_of(item), reply.raw.decode())
        crash.point("before-result")
        for pause in (*FINISH_PAUSES, None):
            try:
                outcome = await self._writer.submit(ReplyWrite(row, item.signer.shard, entries))
            except CommitUncertain:
                raise
            except Unavailable:
                if pause is None:
                    break
                await asyncio.sleep(pause)
                continue
            if outcome is STORED:
                return True
            self._stats.fenced += 1
            return False
        self._stats.tally.count(item.signer.tenant.chain, FAILED)
        await self._delivery.say(item, request_id, Unavailable.public_message)
        return False

    async def note(self, item: IncomingRequest, fence: int, entries: tuple[AuditEntry, ...]) -> bool:
        """Make audit rows alone durable, if the shard is still ours. Raises Unavailable."""
        return await self._writer.submit(AuditWrite(entries, item.signer.shard, fence)) is STORED

    def count_use(self, connection: ConnectionRecord) -> None:
        """Count a use of the key, unless its claim has counted it."""
        if not connection.is_counted:
            self._writer.used(connection.hex)

    def fence_to_finish(self, item: IncomingRequest) -> int:
        """The fence under which what is claimed now is to be finished."""
        return self._holding.fence_to_finish(item.signer.shard)

    def abandon(self, item: IncomingRequest) -> None:
        """Mark a claimed request that will not be answered, with some later batch."""
        self._writer.published(item.event.id, ABANDONED)

    async def unavailable(self, item: IncomingRequest, request_id: str) -> None:
        """Nothing was stored: say so, and let the same event in again."""
        self._forget(item.event.id)
        self._stats.refused["unavailable"] += 1
        self._stats.tally.count(item.signer.tenant.chain, FAILED)
        await self._delivery.say(item, request_id, Unavailable.public_message)

    async def _store(self, item: IncomingRequest, request_id: str, body: bytes, job: ClaimWrite) -> bool:
        """Have a claim committed; True when it was. Otherwise the client has been told what it may know."""
        if not job.fence:
            self._forget(item.event.id)
            return False
        try:
            outcome = await self._writer.submit(job)
        except CommitUncertain:
            raise
        except Unavailable:
            await self.unavailable(item, request_id)
            return False
        if outcome is STORED:
            return True
        if isinstance(outcome, AlreadyClaimed):
            await self._known(item, request_id, body, outcome)
        else:
            self._stats.fenced += 1
            self._forget(item.event.id)
        return False

    async def _known(self, item: IncomingRequest, request_id: str, body: bytes, known: AlreadyClaimed) -> None:
        """The event, or another with its request id, was here before: the stored reply again, or an error."""
        self._stats.drops["known"] += 1
        is_same = known.event_id == item.event.id or known.body_hash == body
        if not is_same:
            self._stats.refused["request-id-reused"] += 1
            await self._delivery.say(item, request_id, REUSED_ID)
        elif known.reply and known.state in (ANSWERED, PUBLISHED):
            self._delivery.republish(known.reply, item.signer, item.connection, item.relay, None)

    def _row(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord | None,
        request_id: str,
        method: str,
        body: bytes,
        fence: int,
        reply: ReplyEvent | None = None,
    ) -> RequestRow:
        now = time.time_ns() // 1_000_000
        signer = item.signer
        return RequestRow(
            item.event.id, signer.tenant.id.hex, signer.transport_hex, None if connection is None else connection.hex,
            item.event.pubkey, _stored_id(request_id), body, _stored_method(method), signer.shard, fence,
            CLAIMED if reply is None else self._delivery.state_of(item),
            item.raw.decode() if reply is None else "",
            "" if reply is None else reply.raw.decode(),
            now, now + REMEMBER_MS,
        )  # fmt: skip


def entry_of(item: IncomingRequest, tag: AuditTag, outcome: AuditOutcome, facts: Mapping[str, Any]) -> AuditEntry:
    """What the audit log says of a request."""
    connection = item.connection
    actor = Actor.client(item.event.pubkey) if connection is None else connection.actor
    return AuditEntry(
        item.signer.tenant.chain, tag, outcome, actor, item.signer.key_hex,
        "" if connection is None else connection.hex, item.event.id, facts,
    )  # fmt: skip


def body_hash(request: Nip46Request) -> bytes:
    """SHA-256 over method and parameters: tells a resend from another request with the same id."""
    return sha256(_encode((request.method, request.params))).digest()


def _stored_id(request_id: str) -> str:
    """A request id as its column takes it: long ones, and what PostgreSQL text cannot hold, by their hash."""
    if len(request_id) <= 128 and request_id.isprintable() and not request_id.startswith(_RESERVED):
        return request_id
    return f"sha256:{sha256(request_id.encode()).hexdigest()}"


def _stored_method(method: str) -> str:
    return "unknown" if of_method(method) is AuditTag.UNKNOWN_METHOD else method
