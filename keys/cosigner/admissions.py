"""Which apps may ask for which uses of a key, as the co-signer was told: rows of its own database.

Each is *admitted by the service*: signer A told of it. It is no proof that the owner wanted it; what it is worth is
that it was there, and in the log, before it was used, and that the co-signer's operator can close the list. Functions
run inside the writing thread (keys.cosigner.store).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from keycast.nostr.nip46 import Nip46Method
from keys.cosigner.candidates import Execute
from keys.signing.cosigning.messages import AppAdmission

ADMITTED_FOR: Final = 30 * 86_400_000
"""Milliseconds after which an admission lapses that nobody has renewed."""
RENEWED_AFTER: Final = ADMITTED_FOR // 2
MOST: Final = 4096
"""Of one key at a time."""
BY_SERVICE: Final = "service"
_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS cosigner_app (
    key_id BLOB NOT NULL, client BLOB NOT NULL, signer BLOB NOT NULL, methods TEXT NOT NULL, kinds TEXT NOT NULL,
    expires_at INTEGER NOT NULL, lapses_at INTEGER NOT NULL, admitted_by TEXT NOT NULL, proof BLOB NOT NULL,
    PRIMARY KEY (key_id, client, signer)) WITHOUT ROWID"""
_decode_methods: Final = msgspec.json.Decoder(list[str]).decode
_decode_kinds: Final = msgspec.json.Decoder(list[tuple[int, int]]).decode


@dataclass(frozen=True, slots=True)
class AdmittedApp:
    """What one app may ask of one key by way of one remote signer; times in ms of Unix time."""

    methods: tuple[str, ...]
    kinds: tuple[tuple[int, int], ...]
    expires_at: int
    lapses_at: int

    @classmethod
    def of(cls, told: AppAdmission, now: int) -> AdmittedApp:
        """As it is told now."""
        kinds = tuple(sorted((first, last) for first, last in told.kinds))
        return cls(tuple(sorted(told.methods)), kinds, told.expires_at, now + ADMITTED_FOR)

    def grants_as(self, other: AdmittedApp) -> bool:
        """Whether both let the app ask for the same."""
        return (self.methods, self.kinds, self.expires_at) == (other.methods, other.kinds, other.expires_at)

    def holds(self, now: int) -> bool:
        """Whether it is neither over nor lapsed."""
        return now < self.lapses_at and (not self.expires_at or now < self.expires_at)

    def covers(self, method: str, kind: int | None) -> bool:
        """Whether the app may ask for this."""
        if method not in self.methods:
            return False
        is_signing = method == Nip46Method.SIGN_EVENT
        return not is_signing or (kind is not None and any(first <= kind <= last for first, last in self.kinds))


def create_tables(connection: sqlite3.Connection) -> None:
    """Where they are missing."""
    connection.execute(_SCHEMA)


def find(execute: Execute, key_id: UUID, client: bytes, signer: bytes) -> AdmittedApp | None:
    """What was admitted, whether it holds or not."""
    row = execute(
        "SELECT methods, kinds, expires_at, lapses_at FROM cosigner_app WHERE key_id = ? AND client = ? AND signer = ?",
        (key_id.bytes, client, signer),
    ).fetchone()
    if row is None:
        return None
    methods, kinds, expires_at, lapses_at = row
    return AdmittedApp(tuple(_decode_methods(methods)), tuple(_decode_kinds(kinds)), expires_at, lapses_at)


def count(execute: Execute, key_id: UUID, now: int) -> int:
    """How many a key has; those that are over go."""
    execute(
        "DELETE FROM cosigner_app WHERE key_id = ? AND (lapses_at <= ? OR expires_at BETWEEN 1 AND ?)",
        (key_id.bytes, now, now),
    )
    return int(execute("SELECT count(*) FROM cosigner_app WHERE key_id = ?", (key_id.bytes,)).fetchone()[0])


def keep(execute: Execute, key_id: UUID, client: bytes, signer: bytes, app: AdmittedApp) -> None:
    """Write it, in the place of an earlier one."""
    methods, kinds = msgspec.json.encode(app.methods).decode(), msgspec.json.encode(app.kinds).decode()
    values: tuple[Any, ...] = (key_id.bytes, client, signer, methods, kinds, app.expires_at, app.lapses_at, BY_SERVICE)
    execute("INSERT OR REPLACE INTO cosigner_app VALUES (?, ?, ?, ?, ?, ?, ?, ?, x'')", values)


def end(execute: Execute, key_id: UUID, client: bytes) -> int:
    """Take away what a client was admitted for; how many rows that were."""
    return execute("DELETE FROM cosigner_app WHERE key_id = ? AND client = ?", (key_id.bytes, client)).rowcount
