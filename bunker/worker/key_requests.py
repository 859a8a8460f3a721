"""Requests that use the user's key (steps 10 to 14 of bunker.md)."""

from __future__ import annotations

import time

from bunker.methods import KeyMethod, KeyOperations
from bunker.policy import Allow, Ask, Deny
from bunker.policy.decisions import Decision
from bunker.worker.admission import IncomingRequest
from bunker.worker.daily_quota import DailyQuota
from bunker.worker.delivery import Delivery
from bunker.worker.envelopes import Envelopes
from bunker.worker.grants import Grants
from bunker.worker.ledger import Ledger, entry_of
from bunker.worker.records import ConnectionRecord, standing
from bunker.worker.refusals import Refusals
from bunker.worker.replies import ReplyEvent, answer_size, size_of, text_of
from bunker.worker.stats import Answered, WorkerStats
from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.base.errors import KeycastError
from keycast.crypto.secret import wipe_bytes
from keycast.nostr.nip46 import Nip46Method, Nip46Request

DAY_IS_FULL = (
    "This community has signed as much as it may today. It goes on at midnight UTC; "
    "its administrators can ask the operator for more."
)
NO_POLICY = Deny("This app has no policy.")
TOO_OFTEN = Deny("This app has used the key as often as it may within a minute.")


class KeyRequests:
    """Decides, claims with the intent, acts, stores and releases. ``keys`` is the signing service."""

    def __init__(
        self,
        *,
        keys: KeyOperations,
        grants: Grants,
        envelopes: Envelopes,
        delivery: Delivery,
        ledger: Ledger,
        refusals: Refusals,
        daily_quota: DailyQuota,
        stats: WorkerStats,
    ) -> None:
        self.keys = keys
        self._grants = grants
        self._envelopes = envelopes
        self._delivery = delivery
        self._ledger = ledger
        self._refusals = refusals
        self._daily_quota = daily_quota
        self._stats = stats

    async def answer(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request: Nip46Request,
        body: bytes,
        operation: KeyMethod,
    ) -> None:
        """Answer a request for the first time. No await stands between the decision and the counted use (C12)."""
        decision = _decide(connection, operation)
        is_signature = operation.name == Nip46Method.SIGN_EVENT
        if not isinstance(decision, Allow):
            reason = decision.reason
            if isinstance(decision, Ask):
                reason = f"{reason} Ask the owner to allow it in Keycast."
            await self._refusals.refuse(item, request.id, request.method, body, reason, "policy", operation.facts)
            return
        if operation.result_size:
            size = answer_size(request.id, operation.result_size)
            if refusal := self._delivery.refusal_of_size(item, connection, size):
                await self._refusals.refuse(
                    item, request.id, request.method, body, refusal, "too-large", operation.facts
                )
                return
        if is_signature and not self._daily_quota.take(item.signer.tenant):
            await self._refusals.refuse(
                item, request.id, request.method, body, DAY_IS_FULL, "quota-reached", operation.facts
            )
            return
        tenant, is_signed = item.signer.tenant, False
        try:
            connection.uses += 1
            if not await self._ledger.claim(item, connection, request, body, operation):
                connection.uses -= 1
                return
            self._ledger.count_use(connection)
            crash.point("after-claim")
            is_signed = await self._execute(item, connection, request.id, operation, self._ledger.fence_to_finish(item))
        finally:
            if is_signature:
                self._daily_quota.settle(tenant, is_signed=is_signed)

    async def resume(
        self, item: IncomingRequest, connection: ConnectionRecord, request_id: str, operation: KeyMethod, fence: int
    ) -> None:
        """Close the earlier intent, whose end nobody saw, as unknown, and carry the request out once more."""
        unknown = entry_of(item, operation.tag, AuditOutcome.UNKNOWN, {"reason": "interrupted"})
        intent = entry_of(item, operation.tag, AuditOutcome.INTENT, {**operation.facts, "attempt": 2})
        if await self._ledger.note(item, fence, (unknown, intent)):
            is_used = await self._execute(item, connection, request_id, operation, fence)
            if is_used and operation.name == Nip46Method.SIGN_EVENT:
                self._daily_quota.add(item.signer.tenant)

    async def _execute(
        self, item: IncomingRequest, connection: ConnectionRecord, request_id: str, operation: KeyMethod, fence: int
    ) -> bool:
        """Use the key once and store what came of it; release it if the connection still stands (C11).

        Whether the key was used, whatever became of the reply.
        """
        result, error, outcome, code = (
            None,
            standing(item.signer, self._grants.same(item, connection), time.time()),
            AuditOutcome.DENIED,
            "no-access",
        )
        if error is None:
            try:
                result = await self._run(item, connection, operation)
                outcome, code = AuditOutcome.OK, ""
                crash.point("after-sign")
            except KeycastError as failure:
                error, outcome, code = failure.public_message, AuditOutcome.FAILED, failure.code
        facts = {**operation.facts, **operation.outcome()} if result is not None else {"reason": code}
        text = text_of(request_id, result, error, item.method)
        refusal = self._delivery.refusal_of_size(item, connection, size_of(text))
        if refusal is not None:  # the key was used, but its owner has nothing of it
            error, outcome, facts = refusal, AuditOutcome.FAILED, {**facts, "reason": "too-large"}
            text = text_of(request_id, None, refusal, item.method)
        reply = await self._envelopes.reply(item, text)
        crash.point("after-encrypt")
        entry = entry_of(item, operation.tag, outcome, facts)
        is_used = result is not None
        if await self._ledger.finish(item, reply, fence, (entry,), request_id):
            self._stats.signed += is_used and operation.name == Nip46Method.SIGN_EVENT
            answered = Answered.OK if error is None else Answered.ERROR
            self._stats.answer(item.signer.tenant.chain, operation.name, answered, item.received)
            await self._release(item, connection, request_id, reply)
        return is_used

    async def _run(self, item: IncomingRequest, connection: ConnectionRecord, operation: KeyMethod) -> str:
        """Use the key; the co-signer of a split one sees what the app has asked."""
        key = item.signer.key
        if not key.is_split:
            return await operation.run(self.keys, key)
        asked = await self._envelopes.asked(item, self._grants.same(item, connection))
        try:
            return await operation.run(self.keys, key, asked)
        finally:
            wipe_bytes(asked.request.conversation_key)

    async def _release(
        self, item: IncomingRequest, connection: ConnectionRecord, request_id: str, reply: ReplyEvent
    ) -> None:
        """Let the reply out, unless the connection ended while it was made."""
        current = self._grants.same(item, connection)
        refusal = standing(item.signer, current, time.time())
        if refusal is None:
            self._delivery.let_out(item, current, reply)
            return
        self._ledger.abandon(item)
        self._stats.refused["ended-meanwhile"] += 1
        await self._delivery.say(item, request_id, refusal)


def _decide(connection: ConnectionRecord, operation: KeyMethod) -> Decision:
    """Policy first; what it allows may still come too often. What takes from a bound is asked last."""
    if connection.policy is None:
        return NO_POLICY
    decision = connection.policy.decide(operation.call)
    minute = connection.minute
    if minute is not None and isinstance(decision, Allow) and not minute.take():
        return TOO_OFTEN
    return decision
