"""The co-signer tells signer A what its log has: of one key for its owner, or every use for a comparison.

Whoever asks learns nothing new by it: signer A asked for each of these uses. It is read from a connection of its own,
in a thread, two at a time, so that reading holds up neither a signature nor the log.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from keys.cosigner import audit, brake_rules, log_reading, store
from keys.cosigner.brake import USES
from keys.cosigner.errors import CosignerRefusalError
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.log_reading import CosignerLogFilter, CosignerLogRow
from keys.signing.cosigning import messages
from keys.signing.cosigning.messages import AnyReply, LogEntry, RefusalCode

AT_ONCE: Final = 2
LONGEST_DATA: Final = 2000
_NONE: Final = bytes(16)
_USES: Final = tuple(tag.value for tag in USES)


class LogHandler:
    """Reads beside the store's thread."""

    def __init__(self, repository: CosignerKeyRepository, path: Path) -> None:
        self._repository, self._path = repository, path
        self._places = asyncio.Semaphore(AT_ONCE)

    async def entries(self, request: messages.KeyLogRequest, peer: str) -> AnyReply:
        """A page of one key's rows, of any state; without a key (zeros), of all keys' uses."""
        if request.key != _NONE and await self._repository.find(request) is None:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        async with self._places:
            try:
                page = await asyncio.to_thread(self._read, request)
            except sqlite3.Error:
                raise CosignerRefusalError(RefusalCode.UNAVAILABLE) from None
        open_now = [reading.entry() for reading in self._repository.readings.of_key(request.key)]
        return msgspec.structs.replace(page, readings=open_now)

    def _read(self, request: messages.KeyLogRequest) -> messages.KeyLogReply:
        is_of_key = request.key != _NONE
        wanted = CosignerLogFilter(
            UUID(bytes=request.key) if is_of_key else None,
            () if is_of_key else _USES,
            request.after,
            request.before,
            request.is_oldest_first,
        )
        with closing(store.read_only(self._path)) as connection:
            rows = log_reading.page(connection, wanted, request.limit)
            head = audit.head(connection)
            stop = self._stop(connection, request) if is_of_key else None
            today = dict(
                connection.execute(
                    "SELECT use, count FROM cosigner_spent WHERE scope = ? AND day = ?",
                    (request.key, int(time.time()) // 86_400),
                ).fetchall()
            )
        reason, at = (stop.reason, stop.at) if stop else ("", 0)
        return messages.KeyLogReply(request.number, [_entry(row) for row in rows], head, at, reason, today)

    def _stop(self, connection: sqlite3.Connection, request: messages.KeyLogRequest) -> brake_rules.CosignerStop | None:
        tenant = brake_rules.tenant_scope(UUID(bytes=request.tenant))
        found = brake_rules.load(connection, brake_rules.BrakeDefaults())
        return found.stop_of(tenant, brake_rules.key_scope(UUID(bytes=request.key)))


def _entry(row: CosignerLogRow) -> LogEntry:
    key = bytes.fromhex(row.key_id) if row.key_id else b""
    return LogEntry(row.sequence, row.at, row.tag, row.outcome, key, row.request_id, row.data[:LONGEST_DATA])
