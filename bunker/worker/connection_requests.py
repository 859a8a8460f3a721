"""Requests that change a connection rather than use a key: ``connect`` and ``logout`` (NIP-46)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

from django.db import Error

from bunker.errors import PairingRefused
from bunker.methods import ConnectionMethod, prepare
from bunker.methods.connect import ACK, Connect
from bunker.services import is_secret_of
from bunker.worker.admission import RATE_LIMITED, IncomingRequest
from bunker.worker.delivery import Delivery
from bunker.worker.envelopes import Envelopes
from bunker.worker.grants import Grants
from bunker.worker.ledger import Ledger, body_hash
from bunker.worker.records import ConnectionRecord, standing
from bunker.worker.replies import text_of
from bunker.worker.stats import Answered, WorkerStats
from keycast.base import crash
from keycast.base.errors import KeycastError, Unavailable
from keycast.nostr.nip46 import Nip46Method, Nip46Request

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
Reload = Callable[[Collection[UUID]], Awaitable[None]]
AT_ONCE = 4


class ConnectionMethodRunner:
    """Runs services of the bunker in a thread, a few at a time, and answers with what came of them."""

    def __init__(
        self,
        *,
        grants: Grants,
        envelopes: Envelopes,
        delivery: Delivery,
        ledger: Ledger,
        in_thread: InThread,
        reload: Reload,
        stats: WorkerStats,
    ) -> None:
        self._grants = grants
        self._envelopes = envelopes
        self._delivery = delivery
        self._ledger = ledger
        self._in_thread = in_thread
        self._reload = reload
        self._stats = stats
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request: Nip46Request,
        body: bytes,
        operation: ConnectionMethod,
    ) -> None:
        """Claim, change the connection through its service, store the reply, release it whatever became of it."""
        if await self._ledger.claim(item, connection, request, body, operation):
            crash.point("after-claim")
            await self.perform(item, connection, request.id, operation, self._ledger.fence_to_finish(item))

    async def perform(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request_id: str,
        operation: ConnectionMethod,
        fence: int,
    ) -> None:
        """Carry out what is claimed: ``answer`` without its claim, for recovery."""
        result, error = await self.run(operation)
        crash.point("after-sign")
        reply = await self._envelopes.reply(item, text_of(request_id, result, error))
        await self._reload([item.signer.transport.transport_id])
        if await self._ledger.finish(item, reply, fence, (), request_id):
            self._count(item, operation.name, Answered.OK if error is None else Answered.ERROR)
            self._delivery.let_out(item, connection, reply)

    async def connect(self, item: IncomingRequest, request: Nip46Request) -> None:
        """Pair a client. Binding is idempotent and audited by its service; only its success is claimed and stored."""
        try:
            operation = prepare(Nip46Method.CONNECT, request.params, self._grants.subject(item, item.connection))
            assert isinstance(operation, Connect)  # noqa: S101 -- by name
        except KeycastError as error:
            self._stats.refused["pairing"] += 1
            await self._delivery.say(item, request.id, error.public_message)
            return
        if refusal := item.signer.tenant.refusal or item.signer.refusal:
            await self._delivery.say(item, request.id, refusal)
            return
        if self._is_confirmation(item, operation.secret):
            await self._settle(item, request, operation, ACK)
            return
        if item.connection is not None and not item.connection.may_connect(now := time.monotonic()):
            self._stats.refused["pairing-rate"] += 1
            if item.connection.may_be_refused(now):
                await self._delivery.say(item, request.id, RATE_LIMITED)
            return
        result, error_text = await self._pair(item, operation)
        if error_text is not None:
            self._stats.refused["pairing"] += 1
            self._count(item, operation.name, Answered.REFUSED)
            await self._delivery.say(item, request.id, error_text)
            return
        await self._reload([item.signer.transport.transport_id])
        self._grants.refresh(item)
        await self._settle(item, request, operation, result or ACK)

    async def _pair(self, item: IncomingRequest, operation: Connect) -> tuple[str | None, str | None]:
        """Bind; where a stranger comes to a signer that waits for nobody, only if the database knows better.

        Then its secret is used or expired, as far as this worker knows, and no attempt of its is worth a row.
        """
        is_expected = item.connection is not None or item.signer.is_pairing(time.time())
        if not is_expected and not await self._is_waiting(operation):
            return None, PairingRefused.public_message
        return await self.run(operation)

    async def _is_waiting(self, operation: Connect) -> bool:
        async with self._turns:
            try:
                return bool(await self._in_thread(operation.has_waiting_secret))
            except Error as error:
                self._stats.errors[type(error).__name__] += 1
                return False

    def _is_confirmation(self, item: IncomingRequest, secret: str) -> bool:
        """Whether a client only says again what it said before: then memory answers, as often as it asks.

        Command-line clients begin every command with ``connect``. It changes nothing, whatever else it holds.
        """
        connection = item.connection
        if connection is None or standing(item.signer, connection, time.time()) is not None:
            return False
        return not secret or is_secret_of(connection.id, connection.secret_hash, secret)

    async def _settle(self, item: IncomingRequest, request: Nip46Request, operation: Connect, result: str) -> None:
        text = text_of(request.id, result, None)
        if await self._ledger.settle(item, request.id, operation.name, body_hash(request), text, ()):
            self._count(item, operation.name, Answered.OK)

    async def run(self, operation: ConnectionMethod) -> tuple[str | None, str | None]:
        """Result and error of a method, one of them None."""
        async with self._turns:
            try:
                return await self._in_thread(operation.run), None
            except KeycastError as failure:
                return None, failure.public_message
            except Error as error:
                self._stats.errors[type(error).__name__] += 1
                return None, Unavailable.public_message

    def _count(self, item: IncomingRequest, method: str, outcome: Answered) -> None:
        self._stats.answer(item.signer.tenant.chain, method, outcome, item.received)
