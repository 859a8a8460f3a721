"""Answers one request: decrypt, decide, claim, act, store, release (steps 9 to 14 of bunker.md).

A request is claimed, its request id taken and its audit intent written by one insert batch *after* it was decrypted
and decided on (docs/decisions/0003-claim-after-decision.md): strangers still cause no write, and nothing is signed
before the intent is durable. Nothing is released before its result is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bunker.methods import ConnectionMethod, InfoMethod, KeyMethod, KeyOperations, Operation, prepare
from bunker.traffic.counts import FAILED
from bunker.worker.admission import IncomingRequest
from bunker.worker.connection_requests import ConnectionMethodRunner, InThread, Reload
from bunker.worker.daily_quota import DailyQuota
from bunker.worker.delivery import Delivery
from bunker.worker.envelopes import UNANSWERABLE, Envelopes
from bunker.worker.grants import Grants, OfferedRelays
from bunker.worker.group_commit import BatchWriter, CommitUncertain
from bunker.worker.key_requests import KeyRequests
from bunker.worker.leases import HeldLeases
from bunker.worker.ledger import Ledger, body_hash, entry_of
from bunker.worker.publisher import Publisher
from bunker.worker.records import ConnectionRecord, standing
from bunker.worker.refusals import Refusals
from bunker.worker.replies import text_of
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import Answered, WorkerStats
from keycast.audit.tags import AuditOutcome, of_method
from keycast.base.errors import KeycastError, Unavailable
from keycast.nostr.nip46 import Nip46Method, Nip46Request, RequestError
from keys.signing.protocol import TransportOpener

log = structlog.get_logger(__name__)

NOT_CONNECTED = "This app is not connected to this remote signer. Connect it with a new bunker URL."
MALFORMED = "This is not a valid request: its id, its method and each of its parameters must be strings."


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of; each does one thing and knows none that stands after it."""

    grants: Grants
    envelopes: Envelopes
    delivery: Delivery
    ledger: Ledger
    refusals: Refusals
    connection_methods: ConnectionMethodRunner
    key_requests: KeyRequests


def assemble(
    *,
    snapshot: Snapshot,
    holding: HeldLeases,
    writer: BatchWriter,
    publisher: Publisher,
    stats: WorkerStats,
    keys: KeyOperations,
    transports: TransportOpener,
    in_thread: InThread,
    reload: Reload,
    forget: Callable[[str], None],
    refuse: Callable[[str, str], None],
    offered_relays: OfferedRelays,
    daily_quota: DailyQuota,
) -> Parts:
    """Make the parts of an engine of what one worker has."""
    grants = Grants(snapshot, offered_relays)
    envelopes = Envelopes(transports=transports, stats=stats, forget=forget, refuse=refuse)
    delivery = Delivery(publisher, envelopes)
    ledger = Ledger(writer=writer, holding=holding, envelopes=envelopes, delivery=delivery, stats=stats, forget=forget)
    refusals = Refusals(ledger, delivery, stats)
    connection_methods = ConnectionMethodRunner(
        grants=grants, envelopes=envelopes, delivery=delivery, ledger=ledger,
        in_thread=in_thread, reload=reload, stats=stats,
    )  # fmt: skip
    key_requests = KeyRequests(
        keys=keys, grants=grants, envelopes=envelopes, delivery=delivery, ledger=ledger,
        refusals=refusals, daily_quota=daily_quota, stats=stats,
    )  # fmt: skip
    return Parts(grants, envelopes, delivery, ledger, refusals, connection_methods, key_requests)


class Engine:
    """Everything between an admitted event and its published reply: says which part answers.

    Lives in one event loop and queries nothing. ``is_stale`` tells that the snapshot may not be trusted any more.
    """

    def __init__(self, parts: Parts, stats: WorkerStats, is_stale: Callable[[], bool]) -> None:
        self.parts = parts
        self.is_stale = is_stale
        self._stats = stats
        self._grants = parts.grants
        self._envelopes = parts.envelopes
        self._delivery = parts.delivery
        self._ledger = parts.ledger
        self._refusals = parts.refusals
        self._connection_methods = parts.connection_methods
        self._key_requests = parts.key_requests

    async def handle(self, item: IncomingRequest) -> None:
        """Answer one request. Never raises: what goes wrong is counted, and its class logged (loop top)."""
        try:
            await self._handle(item)
        except CommitUncertain:  # stored or not, nobody knows: recovery will find out and finish it
            self._stats.errors["commit-outcome-unknown"] += 1
        except Exception as error:  # loop top (request)
            self._stats.errors[type(error).__name__] += 1
            self._stats.tally.count(item.signer.tenant.chain, FAILED)
            log.error("request_failed", error=type(error).__name__)

    async def notify(self, item: IncomingRequest, text: str) -> None:
        """Tell a known client that its request was turned away unread (rate, full queue). Never raises."""
        try:
            request = await self._envelopes.open(item)
            if isinstance(request, Nip46Request):
                await self._delivery.say(item, request.id, text)
        except Exception as error:  # loop top (request): of those that are turned away
            self._stats.errors[type(error).__name__] += 1

    async def resume(self, item: IncomingRequest, fence: int) -> None:
        """Finish a request that another worker, or this one's predecessor, had claimed (recovery). Never raises."""
        for attempt in (self._resume, self._give_up):
            try:
                await attempt(item, fence)
                return
            except CommitUncertain:
                self._stats.errors["commit-outcome-unknown"] += 1
                return
            except Exception as error:  # loop top (request): of those that are recovered
                self._stats.errors[type(error).__name__] += 1
                log.error("recovery_failed", error=type(error).__name__)

    async def _give_up(self, item: IncomingRequest, fence: int) -> None:
        """End a request that failed twice in ways nobody foresaw: close its intent, tell the client."""
        request = await self._envelopes.open(item)
        if not isinstance(request, Nip46Request):
            self._ledger.abandon(item)
            return
        entry = entry_of(item, of_method(request.method), AuditOutcome.UNKNOWN, {"reason": "failed-twice"})
        reply = await self._envelopes.reply(item, text_of(request.id, None, Unavailable.public_message, item.method))
        if await self._ledger.finish(item, reply, fence, (entry,), request.id):
            self._delivery.let_out(item, item.connection, reply)

    async def _handle(self, item: IncomingRequest) -> None:
        request = await self._envelopes.open(item)
        if request is None:
            return
        connection = item.connection
        if isinstance(request, RequestError):
            await self._malformed(item, request)
        elif request.method == Nip46Method.CONNECT:
            await self._connection_methods.connect(item, request)
        elif connection is None:
            # It comes here as seldom as a stranger may try to pair, and so often at most it is answered.
            self._stats.drops["stranger"] += 1
            await self._delivery.say(item, request.id, NOT_CONNECTED)
        else:
            await self._request(item, connection, request)

    async def _malformed(self, item: IncomingRequest, error: RequestError) -> None:
        if error.request_id is None:
            self._stats.drops["malformed"] += 1
            self._envelopes.refuse(item.event.id, UNANSWERABLE)
        elif item.connection is None:  # a connect that does not parse, as far as anybody can tell
            self._stats.refused["pairing"] += 1
            await self._delivery.say(item, error.request_id, MALFORMED)
        else:
            await self._refusals.refuse(item, error.request_id, "unknown", b"", MALFORMED, error.code)

    async def _request(self, item: IncomingRequest, connection: ConnectionRecord, request: Nip46Request) -> None:
        body = body_hash(request)
        # Before anything is decided: a revocation may be among the changes that were not read.
        if self.is_stale():
            await self._ledger.unavailable(item, request.id)
            return
        connection = self._grants.of_client(item, connection)
        refusal = standing(item.signer, connection, time.time())
        if refusal is not None:
            await self._refusals.refuse(item, request.id, request.method, body, refusal, "no-access")
            return
        try:
            operation = prepare(request.method, request.params, self._grants.subject(item, connection))
        except KeycastError as error:
            await self._refusals.refuse(item, request.id, request.method, body, error.public_message, error.code)
            return
        if isinstance(operation, KeyMethod):
            await self._key_requests.answer(item, connection, request, body, operation)
        elif isinstance(operation, InfoMethod):
            await self._answer(item, connection, request, body, operation)
        else:
            await self._connection_methods.answer(item, connection, request, body, operation)

    async def _answer(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request: Nip46Request,
        body: bytes,
        operation: InfoMethod,
    ) -> None:
        """Answer what needs neither key nor decision: from memory, but for the day's first that the log is to name.

        Asked again it is answered again, and the same: nothing is claimed, so an app can fill no table with it.
        """
        day = int(time.time()) // 86_400
        if operation.is_audited and connection.noted_on != day:
            connection.noted_on = day
            entries = (entry_of(item, operation.tag, AuditOutcome.OK, {}),)
            text = text_of(request.id, operation.result, None)
            if not await self._ledger.settle(item, request.id, operation.name, body, text, entries):
                connection.noted_on = 0
                return
        else:
            await self._delivery.answer(item, request.id, operation.result)
        self._stats.answer(item.signer.tenant.chain, operation.name, Answered.OK, item.received)

    async def _resume(self, item: IncomingRequest, fence: int) -> None:
        request = await self._envelopes.open(item)
        connection = item.connection
        if not isinstance(request, Nip46Request) or connection is None:
            self._ledger.abandon(item)
            return
        try:
            operation: Operation = prepare(request.method, request.params, self._grants.subject(item, connection))
        except KeycastError:
            operation = prepare(Nip46Method.PING, (), self._grants.subject(item, connection))
        if isinstance(operation, ConnectionMethod):
            await self._connection_methods.perform(item, connection, request.id, operation, fence)
        elif isinstance(operation, KeyMethod):
            await self._key_requests.resume(item, connection, request.id, operation, fence)
        self._stats.recovered += 1
