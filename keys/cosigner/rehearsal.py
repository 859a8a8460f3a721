"""A rehearsal of restoring the co-signer's database: on a copy, with nothing of the serving one changed.

What it finds is public (ids, public keys, states), so that it may be carried to signer A's machine, where
``restore_check --cosigner`` says whether both sides fit.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from keys.cosigner import audit, records, store
from keys.cosigner.records import CosignerKeyRecord
from keys.cosigner.store import CosignerStore, StoreTransaction
from keys.errors import KekUnavailable, KeyDamaged
from keys.signing.kms.protocol import KekProvider
from keys.signing.vault import unlock


class CannotRehearseError(Exception):
    """There is no such file, or it is no co-signer's database."""


@dataclass(slots=True)
class CosignerRehearsal:
    """``keys`` by id: tenant, public key, state, authorisers, public halves. ``last_at``: of the log, microseconds."""

    rows: int = 0
    last_at: int = 0
    opened: int = 0
    halves: int = 0
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def rehearse(database: Path, dump: Path | None, folder: Path, kek: KekProvider) -> CosignerRehearsal:
    """Look into ``dump``, or a fresh copy of ``database``, in ``folder``. Raises CannotRehearseError."""
    copy = folder / "cosigner.sqlite3"
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    found = CosignerRehearsal()
    try:
        _copy(database, dump, copy)
        # As a co-signer would: brought to this version's tables, in the copy.
        CosignerStore(copy).close()
        with closing(sqlite3.connect(copy)) as connection:
            _look(connection, kek, found)
            if dump is not None and database.is_file():
                _compare_with_serving(connection, database, found)
    except (sqlite3.Error, OSError, store.CosignerStoreInUse) as error:
        raise CannotRehearseError(f"The co-signer's database cannot be read: {error}") from None
    return found


def _copy(database: Path, dump: Path | None, copy: Path) -> None:
    if dump is not None:
        shutil.copyfile(dump, copy)
        return
    with closing(store.read_only(database)) as serving, closing(sqlite3.connect(copy)) as target:
        serving.backup(target)


def _look(connection: sqlite3.Connection, kek: KekProvider, found: CosignerRehearsal) -> None:
    report = audit.verify(connection)
    found.rows = report.rows
    found.problems += [f"the co-signer's log: {report.fault}"] if report.fault else []
    found.last_at = connection.execute("SELECT coalesce(max(at), 0) FROM audit_auditrow").fetchone()[0]
    for record in _records(connection):
        kept = record.halves.values()
        found.halves += len(kept)
        found.keys[record.key_id.hex] = {
            "tenant": record.tenant_id.hex,
            "public_key": record.public_key.hex(),
            "state": record.state,
            "authorisers": [point.hex() for point in record.authorisers],
            "halves": {half.half_a.hex(): half.half_b.hex() for half in kept if half.status != records.PREPARED},
        }
        for half in kept:
            try:
                unlock(half.sealed, half.place, kek).wipe()
                found.opened += 1
            except (KeyDamaged, KekUnavailable) as error:
                found.problems.append(f"key {record.key_id}: the co-signer's half does not open: {error.code}")


def _records(connection: sqlite3.Connection) -> Iterator[CosignerKeyRecord]:
    reading = StoreTransaction(connection)
    for (key,) in connection.execute("SELECT key_id FROM cosigner_key ORDER BY created_at").fetchall():
        record = records.load(reading, UUID(bytes=key))
        assert record is not None  # noqa: S101 -- a row of this very table
        yield record


def _compare_with_serving(connection: sqlite3.Connection, database: Path, found: CosignerRehearsal) -> None:
    """Whether the serving log goes on where the dump's ends."""
    last = "SELECT sequence, hash FROM audit_auditrow ORDER BY sequence DESC LIMIT 1"
    row = connection.execute(last).fetchone()
    if row is None:
        return
    with closing(store.read_only(database)) as serving:
        there = serving.execute("SELECT hash FROM audit_auditrow WHERE sequence = ?", row[:1]).fetchone()
    if there is None:
        found.problems.append(f"the serving co-signer's log has no row {row[0]}, which this dump has")
    elif there[0] != row[1]:
        found.problems.append(f"row {row[0]} of the co-signer's log is another one here: a dump of another database")
