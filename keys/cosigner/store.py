"""The co-signer's own database: one SQLite file, one process, one writing thread that commits in groups.

Nothing leaves the co-signer before the transaction that records it is on disk. Work from many requests shares one
transaction; a piece of work that refuses undoes only itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from keys.cosigner import admissions, audit, brake_rules, candidates
from keys.cosigner.audit import CosignerAuditEntry
from keys.cosigner.brake import CosignerBrake
from keys.cosigner.errors import CosignerRefusalError
from keys.signing.cosigning.messages import RefusalCode

__all__ = ["CosignerRefusalError", "CosignerStore", "CosignerStoreInUse", "StoreTransaction", "read_only"]
logger = logging.getLogger(__name__)
T = TypeVar("T")
VERSION: Final = 4
MAX_WAITING: Final = 4096
MAX_GROUP: Final = 256
BUSY_MILLISECONDS: Final = 5000
TRUNCATE_AGAIN_AFTER: Final = 5.0
_KEY: Final = (
    """CREATE TABLE cosigner_key (
        key_id BLOB PRIMARY KEY, tenant_id BLOB NOT NULL, public_key BLOB NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'active', 'locked', 'disabled', 'forgetting', 'forgotten')),
        authoriser BLOB UNIQUE, coming_authoriser BLOB UNIQUE, created_at INTEGER NOT NULL,
        forget_asked_at INTEGER, forget_at INTEGER,
        CHECK (state IN ('pending', 'forgotten', 'locked', 'disabled') OR authoriser IS NOT NULL),
        CHECK (state <> 'forgetting' OR forget_at IS NOT NULL))""",
    # A public key that was given up may come back: imported again, or converted after all.
    "CREATE UNIQUE INDEX one_key ON cosigner_key (public_key) WHERE state NOT IN ('forgetting', 'forgotten')",
)
_SCHEMA: Final = (
    *_KEY,
    """CREATE TABLE cosigner_half (
        key_id BLOB NOT NULL REFERENCES cosigner_key, half_a BLOB NOT NULL, half_b BLOB NOT NULL UNIQUE,
        status TEXT NOT NULL CHECK (status IN ('current', 'prepared', 'ready')),
        tweak BLOB, kek_version TEXT NOT NULL, sealed BLOB NOT NULL, ready_at INTEGER,
        PRIMARY KEY (key_id, half_a))""",
    "CREATE UNIQUE INDEX one_current ON cosigner_half (key_id) WHERE status = 'current'",
    "CREATE UNIQUE INDEX one_coming ON cosigner_half (key_id) WHERE status <> 'current'",
)
_FROM_1: Final = (
    "ALTER TABLE cosigner_key RENAME TO cosigner_key_1",
    *_KEY,
    "INSERT INTO cosigner_key SELECT key_id, tenant_id, public_key, state, authoriser, NULL, created_at, NULL, NULL "
    "FROM cosigner_key_1",
    "DROP TABLE cosigner_key_1",
)
_FROM_2: Final = (
    # Used authorisations were on disk while they named a time; events were counted while one could sign them again.
    "DROP TABLE IF EXISTS cosigner_used",
    "DROP TABLE IF EXISTS cosigner_signed",
)
_FROM_3: Final = (
    "DROP INDEX one_key",
    "ALTER TABLE cosigner_key RENAME TO cosigner_key_3",
    *_KEY,
    "INSERT INTO cosigner_key SELECT key_id, tenant_id, public_key, state, authoriser, coming_authoriser, created_at, "
    "NULL, NULL FROM cosigner_key_3",
    "DROP TABLE cosigner_key_3",
    "ALTER TABLE cosigner_half ADD COLUMN ready_at INTEGER",
    "UPDATE cosigner_half SET ready_at = 1000 * CAST(strftime('%s', 'now') AS INTEGER) WHERE status = 'ready'",
)
_UPGRADES: Final = {1: _FROM_1, 2: _FROM_2, 3: _FROM_3}
"""From each version to the next."""


class CosignerStoreInUse(Exception):
    """Another process has this database open for writing."""


class StoreTransaction:
    """What a piece of work gets: the connection, inside a transaction, and the audit rows it adds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.notes: list[CosignerAuditEntry] = []
        self.counted: list[CosignerAuditEntry] = []
        self.erases = False
        """Whether something is destroyed that must not stay in the write-ahead log."""

    def note(self, note: CosignerAuditEntry) -> None:
        """Record it with this transaction."""
        self.notes.append(note)

    def count(self, note: CosignerAuditEntry, times: int) -> None:
        """Have the brake judge and count so many uses as if each had this row, and write none of them."""
        self.counted += [note] * times


class _Job(Generic[T]):
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[StoreTransaction], T], future: asyncio.Future[T]) -> None:
        self.work, self.future, self.loop = work, future, future.get_loop()
        self.result: T | None = None
        self.error: Exception | None = None


class CosignerStore:
    """Opens or creates the file; raises CosignerStoreInUse when another co-signer serves it. ``close`` ends the
    thread. ``watch`` is told of rows on disk, also of those that the operator's commands wrote; it must not wait."""

    def __init__(
        self,
        path: Path,
        brake: CosignerBrake | None = None,
        watch: Callable[[Sequence[CosignerAuditEntry]], None] | None = None,
    ) -> None:
        self.path = path
        self._brake, self._watch = brake or CosignerBrake(), watch
        self._seen, self._others = 0, list[CosignerAuditEntry]()
        self.on_commit: Callable[[Sequence[CosignerAuditEntry]], None] | None = None
        """Told like ``watch``, which is given by whoever starts the process, where this is the co-signer's own."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Each process answers from what it has in memory of the keys. A second one would not notice what the first
            # has stopped.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise CosignerStoreInUse from None
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = _opened(path)
        self._seen = audit.head(self._connection)
        # A co-signer that was killed may have left in it what it destroyed.
        self._erased, self._truncate_after = True, 0.0
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cosigner-store", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[StoreTransaction], T]) -> T:
        """Run ``work`` in a transaction; returns when it is on disk. Raises Refusal (of the work's own, or of ours)."""
        if self._jobs.qsize() >= MAX_WAITING:
            raise CosignerRefusalError(RefusalCode.BUSY)
        job: _Job[T] = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what waits, then end."""
        self._jobs.put(None)
        self._thread.join(10)
        self._connection.close()
        os.close(self._lock)

    def _run(self) -> None:
        while True:
            first = self._jobs.get()
            if first is None:
                return
            group, more = [first], True
            # What came while the last commit ran shares the next one; nobody waits for company.
            while more and len(group) < MAX_GROUP:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                more = job is not None
                if job is not None:
                    group.append(job)
            self._write(group)
            for loop in {job.loop for job in group}:
                loop.call_soon_threadsafe(_tell, [job for job in group if job.loop is loop])
            if not more:
                return

    def _write(self, group: list[_Job[Any]]) -> None:
        try:
            self._begin()
            notes = self._alone(group[0]) if len(group) == 1 else [n for job in group for n in self._attempt(job)]
            notes += self._brake.finish(self._connection)
            audit.append(self._connection, notes)
            self._connection.execute("COMMIT")
            self._tell_watch(notes)
            self._truncate()
        # None of the group is on disk, so none of it may leave.
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._brake.undone()
            self._others.clear()
            for job in group:
                job.error = CosignerRefusalError(RefusalCode.UNAVAILABLE)

    def _begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        if self._brake.begin(self._connection):
            self._others = audit.since(self._connection, self._seen)

    def _tell_watch(self, notes: list[CosignerAuditEntry]) -> None:
        told, self._others = [*self._others, *notes], []
        self._seen += len(told)
        for tell in (self.on_commit, self._watch):
            if tell is not None and told:
                tell(told)

    def _truncate(self) -> None:
        """Cut the write-ahead log, which has every page as it was before, down to nothing; later if a reader is at it.

        Source: sqlite.org/pragma.html#pragma_wal_checkpoint.
        """
        if not self._erased or time.monotonic() < self._truncate_after:
            return
        try:
            self._connection.execute("PRAGMA busy_timeout = 200")  # signatures wait behind this
            self._erased = bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.Error:
            logger.warning("the write-ahead log is not cut yet")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        self._truncate_after = time.monotonic() + TRUNCATE_AGAIN_AFTER if self._erased else 0.0

    def _alone(self, job: _Job[Any]) -> list[CosignerAuditEntry]:
        """Work that shares its transaction with no other needs no savepoint."""
        writing = StoreTransaction(self._connection)
        try:
            job.result = job.work(writing)
            self._brake.require(self._connection, [*writing.notes, *writing.counted])
        except (CosignerRefusalError, sqlite3.IntegrityError) as error:
            job.error = _refusal(error)
            self._connection.execute("ROLLBACK")
            self._begin()
            return []
        self._erased |= writing.erases
        return writing.notes

    def _attempt(self, job: _Job[Any]) -> list[CosignerAuditEntry]:
        writing = StoreTransaction(self._connection)
        self._connection.execute("SAVEPOINT work")
        try:
            job.result = job.work(writing)
            self._brake.require(self._connection, [*writing.notes, *writing.counted])
        except (CosignerRefusalError, sqlite3.IntegrityError) as error:
            job.error = _refusal(error)
            writing.notes.clear()
            self._connection.execute("ROLLBACK TO work")
        self._connection.execute("RELEASE work")
        self._erased |= writing.erases
        return writing.notes


def _refusal(error: Exception) -> CosignerRefusalError:
    """What a unique index forbids is known already."""
    return error if isinstance(error, CosignerRefusalError) else CosignerRefusalError(RefusalCode.KEY_EXISTS)


def _tell(group: list[_Job[Any]]) -> None:
    for job in group:
        # Cancelled: its client has gone, but what it asked for is done and recorded.
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def read_only(path: Path) -> sqlite3.Connection:
    """The database for looking at, beside a serving co-signer."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    # synchronous=FULL: nothing is answered that a power cut could undo. secure_delete: a half that was destroyed is
    # not to be read from a freed page.
    # Foreign keys stay out of the way while a table is made anew (sqlite.org/lang_altertable.html, section 7).
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=OFF", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("BEGIN EXCLUSIVE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        audit.create_tables(connection)
    for step in range(version or VERSION, VERSION):
        for statement in _UPGRADES[step]:
            connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    brake_rules.create_tables(connection)
    candidates.create_tables(connection)
    admissions.create_tables(connection)
    connection.execute("COMMIT")
    if version > VERSION:
        raise sqlite3.DatabaseError("the co-signer's database is of a later version")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
