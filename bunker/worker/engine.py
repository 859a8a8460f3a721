"""Answers one request: decrypt, decide, claim, act, store, release (steps 9 to 14 of bunker.md).

A request is claimed, its request id taken and its audit intent written by one insert batch *after* it was decrypted
and decided on (docs/decisions/0003-claim-after-decision.md): strangers still cause no write, and nothing is signed
before the intent is durable. Nothing is released before its result is.
"""

from __future__ import annotations

import time

import structlog

from bunker.methods import Answer, KeyUse, Operation, Verb, prepare
from bunker.policy import Allow, Ask, Deny
from bunker.traffic.counts import FAILED
from bunker.worker.admission import Item
from bunker.worker.commit_jobs import STORED, Note, Outcome
from bunker.worker.connection_requests import Verbs
from bunker.worker.group_commit import Uncertain
from bunker.worker.records import ConnectionRecord, standing
from bunker.worker.replies import Reply, text_of
from bunker.worker.request_lifecycle import ENDED, MALFORMED, body_hash
from keycast.audit.entries import Entry
from keycast.audit.tags import Outcome as AuditOutcome
from keycast.audit.tags import of_method
from keycast.base import crash
from keycast.base.errors import KeycastError, Unavailable
from keycast.nostr.nip46 import Request, RequestError

log = structlog.get_logger(__name__)

DAY_IS_FULL = (
    "This community has signed as much as it may today. It goes on at midnight UTC; "
    "its administrators can ask the operator for more."
)


class Engine(Verbs):
    """Everything between an admitted event and its published reply."""

    async def handle(self, item: Item) -> None:
        """Answer one request. Never raises: what goes wrong is counted, and its class logged (loop top)."""
        try:
            await self._handle(item)
        except Uncertain:  # stored or not, nobody knows: recovery will find out and finish it
            self._stats.errors["commit-outcome-unknown"] += 1
        except Exception as error:
            self._stats.errors[type(error).__name__] += 1
            self._stats.tally.count(item.signer.tenant.chain, FAILED)
            log.error("request_failed", error=type(error).__name__)

    async def notify(self, item: Item, text: str) -> None:
        """Tell a known client that its request was turned away unread (rate, full queue). Never raises."""
        try:
            request = await self._open(item)
            if isinstance(request, Request):
                await self._say(item, request.id, text)
        except Exception as error:
            self._stats.errors[type(error).__name__] += 1

    async def resume(self, item: Item, fence: int) -> None:
        """Finish a request that another worker, or this one's predecessor, had claimed (recovery). Never raises."""
        try:
            await self._resume(item, fence)
        except Uncertain:
            self._stats.errors["commit-outcome-unknown"] += 1
        except Exception as error:
            self._stats.errors[type(error).__name__] += 1
            log.error("recovery_failed", error=type(error).__name__)
            await self._give_up(item, fence)

    async def _give_up(self, item: Item, fence: int) -> None:
        """End a request that failed twice in ways nobody foresaw: close its intent, tell the client. Never raises."""
        try:
            request = await self._open(item)
            if not isinstance(request, Request):
                self._writer.published(item.event.id, "abandoned")
                return
            entry = self._entry(item, of_method(request.method), AuditOutcome.UNKNOWN, {"reason": "failed-twice"})
            reply = await self._reply(item, text_of(request.id, None, Unavailable.public_message))
            if await self._finish(item, reply, fence, (entry,), request.id):
                self._let_out(item, item.connection, reply)
        except Exception as error:
            self._stats.errors[type(error).__name__] += 1

    async def _handle(self, item: Item) -> None:
        request = await self._open(item)
        if request is None:
            return
        connection = item.connection
        if isinstance(request, RequestError):
            if request.request_id is None:
                self._stats.drops["malformed"] += 1
            elif connection is None:  # a connect that does not parse, as far as anybody can tell
                self._stats.refused["pairing"] += 1
                await self._say(item, request.request_id, MALFORMED)
            else:
                await self._refuse(item, request.request_id, "unknown", b"", MALFORMED, request.code)
            return
        if request.method == "connect":
            await self._connect(item, request)
        elif connection is None:
            self._stats.drops["stranger"] += 1
        else:
            await self._request(item, connection, request)

    async def _request(self, item: Item, connection: ConnectionRecord, request: Request) -> None:
        body = body_hash(request)
        if self.is_stale():
            await self._unavailable(item, request.id)
            return
        connection = self._grant_now(item, connection)
        refusal = standing(item.signer, connection, time.time())
        if refusal is not None:
            await self._refuse(item, request.id, request.method, body, refusal, "no-access")
            return
        try:
            operation = prepare(request.method, request.params, self._subject(item, connection))
        except KeycastError as error:
            await self._refuse(item, request.id, request.method, body, error.public_message, error.code)
            return
        if isinstance(operation, KeyUse):
            await self._use_key(item, connection, request, body, operation)
        elif isinstance(operation, Answer):
            await self._answer(item, request, body, operation)
        else:
            await self._verb(item, connection, request, body, operation)

    def _grant_now(self, item: Item, connection: ConnectionRecord) -> ConnectionRecord:
        """The client's grant as the snapshot has it now: rows may have been read again while the request waited.

        Its use count lives in one record only, so a request must never count on the record that it came in with (C12).
        """
        signer = self._snapshot.signers.get(item.signer.public_key)
        found = None if signer is None else signer.clients.get(item.event.pubkey)
        if signer is None or found is None:
            connection.refusal = connection.refusal or ENDED
            return connection
        item.signer, item.connection = signer, found
        return found

    async def _use_key(
        self, item: Item, connection: ConnectionRecord, request: Request, body: bytes, operation: KeyUse
    ) -> None:
        """Decide, claim with the intent, act. No await stands between the decision and the counted use (C12)."""
        decision = (
            Deny("This app has no policy.") if connection.policy is None else connection.policy.decide(operation.call)
        )
        if (
            isinstance(decision, Allow)
            and connection.minute is not None
            and not connection.minute.take(time.monotonic())
        ):
            decision = Deny("This app has used the key as often as it may within a minute.")
        is_signature = operation.name == "sign_event"
        if isinstance(decision, Allow) and is_signature and not self._days.take(item.signer.tenant):
            await self._refuse(item, request.id, request.method, body, DAY_IS_FULL, "quota-reached", operation.facts)
            return
        if not isinstance(decision, Allow):
            reason = decision.reason
            if isinstance(decision, Ask):
                reason = f"{reason} Ask the owner to allow it in Keycast."
            await self._refuse(item, request.id, request.method, body, reason, "policy", operation.facts)
            return
        tenant, is_signed = item.signer.tenant, False
        try:
            connection.uses += 1
            if not await self._claim(item, connection, request, body, operation):
                connection.uses -= 1
                return
            if not connection.is_counted:
                self._writer.used(connection.hex)
            crash.point("after-claim")
            fence = self._holding.fence_to_finish(item.signer.shard)
            is_signed = await self._execute(item, connection, request.id, operation, fence)
        finally:
            if is_signature:
                self._days.settle(tenant, is_signed=is_signed)

    async def _execute(
        self, item: Item, connection: ConnectionRecord, request_id: str, operation: KeyUse, fence: int
    ) -> bool:
        """Use the key once and store what came of it; release it if the connection still stands (C11).

        Whether the key was used, whatever became of the reply.
        """
        result, error, outcome, code = (
            None,
            standing(item.signer, self._current(item, connection), time.time()),
            AuditOutcome.DENIED,
            "no-access",
        )
        if error is None:
            try:
                result = await operation.run(self._keys, item.signer.key)
                outcome, code = AuditOutcome.OK, ""
                crash.point("after-sign")
            except KeycastError as failure:
                error, outcome, code = failure.public_message, AuditOutcome.FAILED, failure.code
        facts = {**operation.facts, **operation.outcome()} if result is not None else {"reason": code}
        text, error = self._fitting(item, connection, request_id, result, error)
        reply = await self._reply(item, text)
        crash.point("after-encrypt")
        entry = self._entry(item, operation.tag, outcome, facts)
        is_used = result is not None
        if await self._finish(item, reply, fence, (entry,), request_id):
            self._stats.signed += is_used and operation.name == "sign_event"
            self._count(item, operation.name, "ok" if error is None else "error")
            await self._release(item, connection, request_id, reply)
        return is_used

    async def _release(self, item: Item, connection: ConnectionRecord, request_id: str, reply: Reply) -> None:
        """Let the reply out, unless the connection ended while it was made."""
        if standing(item.signer, current := self._current(item, connection), time.time()) is None:
            self._let_out(item, current, reply)
            return
        self._writer.published(item.event.id, "abandoned")
        self._stats.refused["ended-meanwhile"] += 1
        await self._say(item, request_id, standing(item.signer, current, time.time()) or ENDED)

    async def _answer(self, item: Item, request: Request, body: bytes, operation: Answer) -> None:
        entries: tuple[Entry, ...] = ()
        if operation.is_audited:
            entries = (self._entry(item, operation.tag, AuditOutcome.OK, {}),)
        text = text_of(request.id, operation.result, None)
        if await self._settle(item, request.id, operation.name, body, text, entries):
            self._count(item, operation.name, "ok")

    async def _resume(self, item: Item, fence: int) -> None:
        """Close the earlier intent, whose end nobody saw, and carry the request out once more."""
        request = await self._open(item)
        connection = item.connection
        if not isinstance(request, Request) or connection is None:
            self._writer.published(item.event.id, "abandoned")
            return
        try:
            operation: Operation = prepare(request.method, request.params, self._subject(item, connection))
        except KeycastError:
            operation = prepare("ping", (), self._subject(item, connection))
        if isinstance(operation, Verb):
            await self._perform(item, connection, request.id, operation, fence)
        elif isinstance(operation, KeyUse) and await self._reopen(item, operation, fence):
            is_used = await self._execute(item, connection, request.id, operation, fence)
            if is_used and operation.name == "sign_event":
                self._days.add(item.signer.tenant)
        self._stats.recovered += 1

    async def _reopen(self, item: Item, operation: KeyUse, fence: int) -> bool:
        """Close the interrupted intent as unknown and write the one of the second attempt, in one commit."""
        unknown = self._entry(item, operation.tag, AuditOutcome.UNKNOWN, {"reason": "interrupted"})
        intent = self._entry(item, operation.tag, AuditOutcome.INTENT, {**operation.facts, "attempt": 2})
        stored: Outcome = await self._writer.submit(Note((unknown, intent), item.signer.shard, fence))
        return stored is STORED
