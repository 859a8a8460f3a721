"""What the co-signer does by its own clock, whether signer A asks for it or not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.forgetting import forgotten
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.reading import CLOCK, ReadingHandler
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.messages import RefusalCode

logger = logging.getLogger(__name__)
OLD_HALF_ENDS_AFTER: Final = 3_600_000
"""Milliseconds for which both pairs of halves sign after a refresh's commit, if signer A does not end it earlier."""


class CosignerClock:
    """``tick`` runs every minute, and before the first request."""

    def __init__(self, repository: CosignerKeyRepository, reading: ReadingHandler) -> None:
        self._repository, self._reading = repository, reading

    async def tick(self) -> None:
        """End old halves and reading grants, destroy what waited long enough. Raises nothing for one key."""
        now, store = authorisation.now(), self._repository.store
        # Its operator may have cancelled one from another process.
        self._repository.drop_forgetting()
        await self._reading.end_overdue()
        overdue = now - OLD_HALF_ENDS_AFTER
        for key_id, half_a in await store.write(lambda writing: records.due_to_finish(writing, overdue)):
            await self._attempt(key_id, self._finish(key_id, half_a))
        for key_id in await store.write(lambda writing: records.due_to_forget(writing, now)):
            await self._attempt(key_id, self._forget(key_id, now))

    async def _attempt(self, key_id: UUID, step: Awaitable[None]) -> None:
        """One that cannot be ended now holds up no other."""
        try:
            await step
        except CosignerRefusalError as refusal:
            logger.warning("the clock waits", extra={"key_id": str(key_id), "code": refusal.code.value})

    async def _finish(self, key_id: UUID, half_a: bytes) -> None:
        record = await self._repository.stored(key_id)
        note = CosignerAuditEntry(CosignerAuditTag.REFRESH_FINISHED, AuditOutcome.OK, CLOCK, key_id.hex)
        await self._repository.change(record, note, lambda w: records.make_current(w, key_id, half_a))

    async def _forget(self, key_id: UUID, now: int) -> None:
        record = await self._repository.stored(key_id)

        def work(writing: StoreTransaction) -> None:
            # Looked at again: it may have been kept meanwhile.
            if key_id not in records.due_to_forget(writing, now):
                raise CosignerRefusalError(RefusalCode.BUSY)
            records.forget(writing, key_id)

        await self._repository.change(record, forgotten(record, CLOCK), work)
