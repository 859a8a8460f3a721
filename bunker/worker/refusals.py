"""Says no with a reason, and writes it down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from bunker.worker.admission import IncomingRequest
from bunker.worker.delivery import Delivery
from bunker.worker.ledger import Ledger, entry_of
from bunker.worker.replies import text_of
from bunker.worker.stats import Answered, WorkerStats
from keycast.audit.tags import AuditOutcome, AuditTag, of_method


class Refusals:
    """For clients that hold a connection; strangers are not refused, they are dropped."""

    def __init__(self, ledger: Ledger, delivery: Delivery, stats: WorkerStats) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._stats = stats

    async def refuse(
        self, item: IncomingRequest, request_id: str, method: str, body: bytes, reason: str, code: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Answer with ``reason``, durably; a client that is refused too often is only told."""
        self._stats.refused[code] += 1
        connection = item.connection
        assert connection is not None  # noqa: S101 -- as above
        tag = of_method(method)
        counted = "unknown" if tag is AuditTag.UNKNOWN_METHOD else method
        self._stats.answer(item.signer.tenant.chain, counted, Answered.REFUSED, item.received)
        if not connection.may_be_refused(time.monotonic()):
            await self._delivery.say(item, request_id, reason)
            return
        data: dict[str, Any] = {"reason": code, **(facts or {})}
        if connection.suppressed:
            data["unwritten_refusals"], connection.suppressed = connection.suppressed, 0
        entry = entry_of(item, tag, AuditOutcome.DENIED, data)
        body = body or sha256(item.event.content.encode()).digest()
        await self._ledger.settle(item, request_id, method, body, text_of(request_id, None, reason, method), (entry,))
