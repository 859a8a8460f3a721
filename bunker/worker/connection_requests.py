"""Requests that change a connection rather than use a key: ``connect`` and ``logout`` (NIP-46)."""

from __future__ import annotations

import time

from django.db import Error

from bunker.methods import Verb, prepare
from bunker.methods.connect import Connect
from bunker.worker.admission import RATE_LIMITED, Item
from bunker.worker.records import ConnectionRecord
from bunker.worker.replies import text_of
from bunker.worker.request_lifecycle import Desk, body_hash
from keycast.base import crash
from keycast.base.errors import KeycastError, Unavailable
from keycast.nostr.nip46 import Request


class Verbs(Desk):
    """Runs services of the bunker in a thread, a few at a time, and answers with what came of them."""

    async def _verb(
        self, item: Item, connection: ConnectionRecord, request: Request, body: bytes, operation: Verb
    ) -> None:
        """Claim, change the connection through its service, store the reply, release it whatever became of it."""
        if await self._claim(item, connection, request, body, operation):
            crash.point("after-claim")
            await self._perform(
                item, connection, request.id, operation, self._holding.fence_to_finish(item.signer.shard)
            )

    async def _perform(
        self, item: Item, connection: ConnectionRecord | None, request_id: str, operation: Verb, fence: int
    ) -> None:
        result, error = await self._run_verb(operation)
        crash.point("after-sign")
        reply = await self._reply(item, text_of(request_id, result, error))
        await self._reload([item.signer.transport.transport_id])
        if await self._finish(item, reply, fence, (), request_id):
            self._count(item, operation.name, "ok" if error is None else "error")
            self._let_out(item, connection, reply)

    async def _run_verb(self, operation: Verb) -> tuple[str | None, str | None]:
        async with self._verbs:
            try:
                return await self._in_thread(operation.run), None
            except KeycastError as failure:
                return None, failure.public_message
            except Error as error:
                self._stats.errors[type(error).__name__] += 1
                return None, Unavailable.public_message

    async def _connect(self, item: Item, request: Request) -> None:
        """Pair a client. Binding is idempotent and audited by its service; only its success is claimed and stored."""
        if item.connection is not None and not item.connection.may_connect(now := time.monotonic()):
            self._stats.refused["pairing-rate"] += 1
            if item.connection.may_be_refused(now):
                await self._say(item, request.id, RATE_LIMITED)
            return
        try:
            operation = prepare("connect", request.params, self._subject(item, item.connection))
            assert isinstance(operation, Connect)  # noqa: S101 -- by name
        except KeycastError as error:
            self._stats.refused["pairing"] += 1
            await self._say(item, request.id, error.public_message)
            return
        if item.signer.tenant.refusal or item.signer.refusal:
            await self._say(item, request.id, item.signer.tenant.refusal or item.signer.refusal or "")
            return
        result, error_text = await self._run_verb(operation)
        if error_text is not None:
            self._stats.refused["pairing"] += 1
            self._count(item, "connect", "refused")
            await self._say(item, request.id, error_text)
            return
        await self._reload([item.signer.transport.transport_id])
        item.signer = self._snapshot.signers.get(item.signer.public_key, item.signer)
        item.connection = item.signer.clients.get(item.event.pubkey)
        if await self._settle(item, request.id, "connect", body_hash(request), text_of(request.id, result, None), ()):
            self._count(item, "connect", "ok")
