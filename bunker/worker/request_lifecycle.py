"""What every way of answering shares: reading a request, claiming it, making its reply durable, letting it out.

The order is that of bunker.md, steps 9 to 14; nothing is released before what says so in the audit log is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog

from bunker.methods import KeyUse, Subject, Verb
from bunker.traffic.counts import FAILED, OTHER, REFUSED, SIGNED, USED
from bunker.worker.admission import Item
from bunker.worker.commit_jobs import STORED, Claim, Finish, Known
from bunker.worker.daily_quota import Days
from bunker.worker.group_commit import BatchWriter, Uncertain
from bunker.worker.leases import Holding
from bunker.worker.publisher import Publisher
from bunker.worker.records import ConnectionRecord, SignerRecord
from bunker.worker.replies import TOO_LARGE, Reply, compose, published_size, text_of
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import Stats
from keycast.audit.entries import Actor, Entry
from keycast.audit.tags import Outcome as AuditOutcome
from keycast.audit.tags import Tag, of_method
from keycast.base import crash
from keycast.base.errors import KeycastError, Unavailable
from keycast.nostr.nip46 import Request, RequestError, parse_request
from keys.errors import InvalidOperand, OpenKeyExpired
from keys.signing.protocol import OpenTransport, TransportOpener

log = structlog.get_logger(__name__)

REMEMBER_MS = 24 * 3600 * 1000
"""How long a request is remembered: longer than any relay resends it."""
FINISH_PAUSES = (0.1, 0.3, 1.0, 2.0)
REUSED_ID = "This request id was already used for another request."
MALFORMED = "This is not a valid request."
ENDED = "This app's access has ended."
_USES = {
    "sign_event": SIGNED,
    **dict.fromkeys(("nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"), USED),
}
_encode = msgspec.json.Encoder().encode

T = TypeVar("T")
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
Reload = Callable[[Collection[UUID]], Awaitable[None]]


class Desk:
    """The engine's own tools. Lives in one event loop and queries nothing."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        holding: Holding,
        writer: BatchWriter,
        publisher: Publisher,
        stats: Stats,
        keys: Any,
        transports: TransportOpener,
        in_thread: InThread,
        reload: Reload,
        forget: Callable[[str], None],
        offered_relays: Callable[[SignerRecord, ConnectionRecord], list[str] | None],
        days: Days,
    ) -> None:
        self._snapshot = snapshot
        self._holding = holding
        self._writer = writer
        self._publisher = publisher
        self._stats = stats
        self._keys = keys
        self._transports = transports
        self._in_thread = in_thread
        self._reload = reload
        self._forget = forget
        self._offered_relays = offered_relays
        self._days = days
        self._verbs = asyncio.Semaphore(4)
        self.is_stale: Callable[[], bool] = lambda: False

    async def _open(self, item: Item) -> Request | RequestError | None:
        """The request inside an event: None (counted) when it cannot be read at all."""
        event = item.event
        try:
            text = await self._opened(item, lambda transport: transport.decrypt(event.pubkey, event.content))
        except InvalidOperand:
            self._stats.drops["undecryptable"] += 1
            return None
        except KeycastError as failure:
            self._stats.errors[failure.code] += 1
            self._forget(event.id)
            return None
        try:
            return parse_request(text)
        except RequestError as error:
            return error

    def _subject(self, item: Item, connection: ConnectionRecord | None) -> Subject:
        signer = item.signer
        return Subject(
            signer.key,
            item.event.pubkey,
            transport_id=signer.transport.transport_id,
            signer_public_key=signer.public_key,
            connection_id=None if connection is None else connection.id,
            uses=0 if connection is None else connection.uses,
            relays=() if connection is None else connection.relays,
            offered_relays=None if connection is None else partial(self._offered_relays, signer, connection),
        )

    async def _claim(
        self, item: Item, connection: ConnectionRecord, request: Request, body: bytes, operation: KeyUse | Verb
    ) -> bool:
        """Claim the request, with its audit intent when it uses the key; True when it is ours to carry out."""
        fence = self._holding.fence(item.signer.shard)
        row = self._row(item, connection, request.id, request.method, body, fence)
        entries: tuple[Entry, ...] = ()
        if isinstance(operation, KeyUse):
            entries = (self._entry(item, operation.tag, AuditOutcome.INTENT, operation.facts),)
        counted = connection.hex if connection.is_counted and isinstance(operation, KeyUse) else None
        crash.point("before-claim")
        return await self._store(item, request.id, body, Claim(row, entries, counted))

    async def _store(self, item: Item, request_id: str, body: bytes, job: Claim) -> bool:
        """Have a claim committed; True when it was. Otherwise the client has been told what it may know."""
        if not job.fence:
            self._forget(item.event.id)
            return False
        try:
            outcome = await self._writer.submit(job)
        except Uncertain:
            raise
        except Unavailable:
            await self._unavailable(item, request_id)
            return False
        if outcome is STORED:
            return True
        if isinstance(outcome, Known):
            await self._known(item, request_id, body, outcome)
        else:
            self._stats.fenced += 1
            self._forget(item.event.id)
        return False

    async def _finish(self, item: Item, reply: Reply, fence: int, entries: tuple[Entry, ...], request_id: str) -> bool:
        """Make the reply and its audit result durable; tries again for a while when the database is away."""
        row = (item.event.id, fence, self._state(item), reply.raw.decode())
        crash.point("before-result")
        for pause in (*FINISH_PAUSES, None):
            try:
                outcome = await self._writer.submit(Finish(row, item.signer.shard, entries))
            except Uncertain:
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
        await self._say(item, request_id, Unavailable.public_message)
        return False

    def _fitting(
        self, item: Item, connection: ConnectionRecord, request_id: str, result: str | None, error: str | None
    ) -> tuple[str, str | None]:
        """The answer's text, or an error in its place when no relay would carry it (T11)."""
        text = text_of(request_id, result, error)
        size = published_size(text)
        if size is None or not self._publisher.fits(size, connection.relays, item.relay):
            return text_of(request_id, None, TOO_LARGE), TOO_LARGE
        return text, error

    def _current(self, item: Item, connection: ConnectionRecord) -> ConnectionRecord:
        """The connection as the snapshot has it now; the old record, marked as over, when it is gone."""
        signer = self._snapshot.signers.get(item.signer.public_key)
        found = None if signer is None else signer.clients.get(connection.client)
        if signer is None or found is None or found.id != connection.id:
            connection.refusal = connection.refusal or ENDED
            return connection
        item.signer = signer
        return found

    def _let_out(self, item: Item, connection: ConnectionRecord | None, reply: Reply) -> None:
        crash.point("before-publish")
        relays = () if connection is None else connection.relays
        waits = self._state(item) == "answered"
        self._publisher.publish(reply, relays, item.relay, item.event.id if waits else None)
        crash.point("after-publish")

    async def _refuse(
        self, item: Item, request_id: str, method: str, body: bytes, reason: str, code: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Say no with a reason, and write it down; a client that is refused too often is only told."""
        self._stats.refused[code] += 1
        connection = item.connection
        assert connection is not None  # noqa: S101 -- strangers are not refused, they are dropped
        tag = of_method(method)
        self._count(item, "unknown" if tag is Tag.UNKNOWN_METHOD else method, "refused")
        if not connection.may_be_refused(time.monotonic()):
            await self._say(item, request_id, reason)
            return
        data: dict[str, Any] = {"reason": code, **(facts or {})}
        if connection.suppressed:
            data["unwritten_refusals"], connection.suppressed = connection.suppressed, 0
        entry = self._entry(item, tag, AuditOutcome.DENIED, data)
        body = body or sha256(item.event.content.encode()).digest()
        await self._settle(item, request_id, method, body, text_of(request_id, None, reason), (entry,))

    async def _settle(
        self, item: Item, request_id: str, method: str, body: bytes, text: str, entries: tuple[Entry, ...]
    ) -> bool:
        """Claim and answer in one commit, then publish."""
        fence = self._holding.fence(item.signer.shard)
        reply = await self._reply(item, text)
        row = self._row(item, item.connection, request_id, method, body, fence, reply)
        if not await self._store(item, request_id, body, Claim(row, entries, None)):
            return False
        self._let_out(item, item.connection, reply)
        return True

    async def _known(self, item: Item, request_id: str, body: bytes, known: Known) -> None:
        """The event, or another with its request id, was here before: the stored reply again, or an error."""
        self._stats.drops["known"] += 1
        is_same = known.event_id == item.event.id or known.body_hash == body
        if not is_same:
            self._stats.refused["request-id-reused"] += 1
            await self._say(item, request_id, REUSED_ID)
        elif known.reply and known.state in ("answered", "published"):
            self.republish(known.reply, item.signer, item.connection, item.relay, None)

    def republish(
        self, reply: str, signer: SignerRecord, connection: ConnectionRecord | None, came_from: str, request: str | None
    ) -> None:
        """Send a stored reply again."""
        from keycast.nostr.nip01 import parse_event  # noqa: PLC0415  (rare)

        raw = reply.encode()
        self._publisher.publish(
            Reply(parse_event(raw), raw), () if connection is None else connection.relays, came_from, request
        )

    async def _unavailable(self, item: Item, request_id: str) -> None:
        """Nothing was stored: say so, and let the same event in again."""
        self._forget(item.event.id)
        self._stats.refused["unavailable"] += 1
        self._stats.tally.count(item.signer.tenant.chain, FAILED)
        await self._say(item, request_id, Unavailable.public_message)

    async def _say(self, item: Item, request_id: str, error: str) -> None:
        """Publish an error that nobody needs to remember."""
        reply = await self._reply(item, text_of(request_id, None, error))
        relays = () if item.connection is None else item.connection.relays
        self._publisher.publish(reply, relays, item.relay, None)

    async def _reply(self, item: Item, text: str) -> Reply:
        event = item.event
        now = int(time.time())
        return await self._opened(item, lambda transport: compose(transport, event.pubkey, text, event.id, now))

    async def _opened(self, item: Item, use: Callable[[OpenTransport], T]) -> T:
        """Use the open transport key; once more when its lease ended at that very moment."""
        try:
            return use(await self._transports.open(item.signer.transport))
        except OpenKeyExpired:
            return use(await self._transports.open(item.signer.transport))

    def _entry(self, item: Item, tag: Tag, outcome: AuditOutcome, facts: Mapping[str, Any]) -> Entry:
        connection = item.connection
        actor = Actor.client(item.event.pubkey) if connection is None else connection.actor
        return Entry(
            item.signer.tenant.chain, tag, outcome, actor, item.signer.key_hex,
            "" if connection is None else connection.hex, item.event.id, facts,
        )  # fmt: skip

    def _row(
        self, item: Item, connection: ConnectionRecord | None, request_id: str, method: str, body: bytes, fence: int,
        reply: Reply | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """One request row, in the order of sql.REQUEST_COLUMNS."""
        now = time.time_ns() // 1_000_000
        signer = item.signer
        return (
            item.event.id, signer.tenant.id.hex, signer.transport_hex, None if connection is None else connection.hex,
            item.event.pubkey, _stored_id(request_id), body, _stored_method(method), signer.shard, fence,
            "claimed" if reply is None else self._state(item),
            item.raw.decode() if reply is None else "",
            "" if reply is None else reply.raw.decode(),
            now, now + REMEMBER_MS,
        )  # fmt: skip

    def _state(self, item: Item) -> str:
        return self._publisher.state_for(() if item.connection is None else item.connection.relays, item.relay)

    def _count(self, item: Item, method: str, outcome: str) -> None:
        seconds = time.monotonic() - item.received
        self._stats.answer(method, outcome, seconds)
        if outcome == "refused":
            self._stats.tally.count(item.signer.tenant.chain, REFUSED)
            return
        use = _USES.get(method)
        kind = FAILED if outcome == "error" else OTHER if use is None else use
        self._stats.tally.count(item.signer.tenant.chain, kind, None if use is None else seconds)


def body_hash(request: Request) -> bytes:
    return sha256(_encode((request.method, request.params))).digest()


def _stored_id(request_id: str) -> str:
    """A request id as its column takes it: long ones, and what PostgreSQL text cannot hold, by their hash."""
    if len(request_id) <= 128 and request_id.isprintable() and not request_id.startswith("sha256:"):
        return request_id
    return f"sha256:{sha256(request_id.encode()).hexdigest()}"


def _stored_method(method: str) -> str:
    return "unknown" if of_method(method) is Tag.UNKNOWN_METHOD else method
