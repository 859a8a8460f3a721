"""Group commit: requests that arrive together share one transaction, so durability costs milliseconds, not throughput.

One thread, one database connection of its own. Whatever has been submitted while the last COMMIT ran makes up the
next batch: alone, a request is committed at once; under load batches grow by themselves. Nothing is released to the
event loop before its COMMIT has returned (threats A1), and the fence of every shard is checked in the transaction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from django.db import DataError, Error, IntegrityError, connection, transaction

from bunker.worker.commit_jobs import (
    FENCED,
    STORED,
    Job,
    Outcome,
)
from bunker.worker.commit_transaction import (
    CommitTransaction,
    RowsMissing,
    crash_points,
    found_after_lost_commit,
    write_rest,
)
from bunker.worker.database_errors import connection_is_lost, is_worth_retrying
from bunker.worker.stats import WorkerStats
from keycast.audit.errors import AuditUnavailable
from keycast.base.errors import Unavailable

log = structlog.get_logger(__name__)

MAX_BATCH = 400
BUSY_ABOVE = 8
GATHER_SECONDS = 0.001
GATHER_STEPS = 6
USES_EVERY = 1.0
"""Seconds between writes of use counts that no policy bounds."""


class CommitUncertain(Unavailable):
    """The COMMIT's answer was lost and the database cannot be asked: the request may or may not be stored."""

    code = "commit-outcome-unknown"


class _Poisoned(Exception):
    """The database refused the batch for what is in it."""


class BatchWriter:
    """The writer thread. ``submit`` from the event loop; results come back there, one wake-up per batch."""

    def __init__(self, owner: str, stats: WorkerStats, *, capacity: int = 4096) -> None:
        self._owner = owner
        self._stats = stats
        self._capacity = capacity
        self._jobs: deque[Job] = deque()
        self._errands: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._published: deque[tuple[str, str]] = deque()
        self._uses: Counter[str] = Counter()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="bunker-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uses_due = 0.0
        self.failed = threading.Event()

    @property
    def is_started(self) -> bool:
        """True once the thread runs or has run."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread; call it from the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[Outcome]:
        """Queue a job. The future gives its outcome once it is durable.

        It raises Unavailable when nothing was stored, and Uncertain when nobody can say.
        """
        assert self._loop is not None  # noqa: S101 -- started
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if self._stopping or len(self._jobs) >= self._capacity:
            future.set_exception(Unavailable())
            return future
        job.future = future
        self._jobs.append(job)
        if not self._wake.is_set():
            self._wake.set()
        return future

    def execute(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run ``work``, which queries on its own, in the writer's thread before the next batch.

        On SQLite this is how a heartbeat gets its turn: another connection could wait for the write lock for seconds.
        """
        assert self._loop is not None  # noqa: S101 -- started
        future: asyncio.Future[Any] = self._loop.create_future()
        self._errands.append((work, future))
        self._wake.set()
        return future

    def published(self, event_id: str, state: str) -> None:
        """Note, with the next batch, that an answer is ``published`` or ``abandoned``."""
        self._published.append((event_id, state))
        # They ride along with the next batch for nothing; alone they are worth a transaction only in numbers.
        if len(self._published) > 256 and not self._wake.is_set():
            self._wake.set()

    def used(self, connection_hex: str) -> None:
        """Count one use of a connection whose count bounds nothing; written about once a second."""
        self._uses[connection_hex] += 1

    async def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        try:
            _tune()
            while self._jobs or not self._stopping:
                if not self._jobs and not self._wake.wait(0.25):
                    self._housekeeping()
                    continue
                # Before the queues are read: whatever is submitted from here on wakes the thread again.
                self._wake.clear()
                while self._errands:
                    self._run_errand(*self._errands.popleft())
                batch = self._take()
                if batch or self._published:
                    self._process(batch)
            # Counts that are not due yet go too: there is no later.
            self._uses_due = 0.0
            self._process([])
        finally:
            self.failed.set()
            connection.close()

    def _run_errand(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        try:
            result = work()
        except Error as error:  # belongs to whoever asked
            connection.close()
            self._call_back(_settle, future, None, error)
        else:
            self._call_back(_settle, future, result, None)

    def _housekeeping(self) -> None:
        if self._published or (self._uses and time.monotonic() >= self._uses_due):
            self._process([])

    def _take(self) -> list[Job]:
        """What is queued; when many requests are under way, after a moment in which most of them may arrive."""
        crowd = min(self._stats.in_flight, MAX_BATCH)
        if crowd >= BUSY_ABOVE:
            for _ in range(GATHER_STEPS):
                if 4 * len(self._jobs) >= 3 * crowd or self._stopping:
                    break
                time.sleep(GATHER_SECONDS)
        batch: list[Job] = []
        while self._jobs and len(batch) < MAX_BATCH:
            batch.append(self._jobs.popleft())
        return batch

    def _process(self, batch: list[Job]) -> None:
        started = time.monotonic()
        published = [self._published.popleft() for _ in range(min(len(self._published), 2 * MAX_BATCH))]
        uses = self._uses_to_write()
        try:
            outcomes = self._commit_with_retry(batch, published, uses)
        except _Poisoned:  # one row of it cannot be stored: find it, so that the others do not suffer
            self._put_back(published, uses)
            middle = len(batch) // 2
            self._process(batch[:middle])
            self._process(batch[middle:])
            return
        except Unavailable as failure:
            self._put_back(published, uses)
            self._fail(batch, failure)
            # A database that is away may refuse at once, and what was put back would be tried again as fast.
            time.sleep(0.05)
            return
        self._stats.batches += 1
        self._stats.batch_jobs += len(batch)
        self._stats.batch_seconds += time.monotonic() - started
        if batch:
            self._call_back(_resolve, batch, outcomes)

    def _put_back(self, published: list[tuple[str, str]], uses: Counter[str]) -> None:
        self._uses.update(uses)
        self._published.extendleft(reversed(published))

    def _uses_to_write(self) -> Counter[str]:
        now = time.monotonic()
        if not self._uses or now < self._uses_due:
            return Counter()
        self._uses_due = now + USES_EVERY
        uses, self._uses = self._uses, Counter()
        return uses

    def _fail(self, batch: list[Job], failure: Unavailable) -> None:
        self._stats.errors[failure.code] += 1
        if batch:
            self._call_back(_reject, batch, failure)

    def _call_back(self, function: object, *args: object) -> None:
        assert self._loop is not None  # noqa: S101 -- started
        try:
            self._loop.call_soon_threadsafe(function, *args)  # type: ignore[arg-type]
        except RuntimeError:  # the loop is gone: nobody is left to hear it
            log.warning("writer_result_unheard")

    def _commit_with_retry(
        self, batch: list[Job], published: list[tuple[str, str]], uses: Counter[str]
    ) -> list[Outcome]:
        """Commit, once more when the database asks for it (serialization, deadlock, lock), else say why not."""
        for attempt in (1, 2):
            try:
                return self._commit(batch, published, uses)
            except (Error, AuditUnavailable, ValueError) as error:
                cause = error.__cause__ if isinstance(error, AuditUnavailable) else error
                log.warning("batch_failed", error=type(cause).__name__, jobs=len(batch), attempt=attempt)
                if connection_is_lost(cause):
                    found = self._after_lost_connection(batch)
                    if found is not None:
                        return found
                    if attempt == 1:  # nothing of it is there, so it cannot be written twice
                        continue
                if len(batch) > 1 and isinstance(cause, DataError | IntegrityError | ValueError):
                    raise _Poisoned from error
                if attempt == 2 or not is_worth_retrying(cause):
                    raise Unavailable from error
        raise AssertionError("unreachable")

    def _commit(self, batch: list[Job], published: list[tuple[str, str]], uses: Counter[str]) -> list[Outcome]:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                outcomes = CommitTransaction(cursor, self._owner, batch).write_all()
                write_rest(cursor, published, uses, batch)
                crash_points("before", batch)
        except RowsMissing:
            with transaction.atomic(), connection.cursor() as cursor:
                outcomes = CommitTransaction(cursor, self._owner, batch).write_each()
                write_rest(cursor, published, uses, batch)
                crash_points("before", batch)
        crash_points("after", batch)
        return outcomes

    def _after_lost_connection(self, batch: list[Job]) -> list[Outcome] | None:
        """The connection broke, perhaps inside COMMIT: look at the rows. Any one of a batch speaks for all of it.

        None when nothing of it was stored. Raises Uncertain when the database cannot be asked.
        """
        connection.close()
        for pause in (0.1, 0.2, 0.5, 1.0):
            time.sleep(pause)
            try:
                with connection.cursor() as cursor:
                    outcomes = [found_after_lost_commit(cursor, job) for job in batch]
            except Error:
                connection.close()
                continue
            if STORED in outcomes:
                return [FENCED if outcome is None else outcome for outcome in outcomes]
            return None
        raise CommitUncertain


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tune() -> None:
    """Give the writer's own connection room: request ids are random, so their index is touched all over."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size = -32768")
            cursor.execute("PRAGMA wal_autocheckpoint = 8000")


def _resolve(batch: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    for job, outcome in zip(batch, outcomes, strict=True):
        if job.future is not None and not job.future.done():
            job.future.set_result(outcome)


def _reject(batch: Sequence[Job], failure: Unavailable) -> None:
    for job in batch:
        if job.future is not None and not job.future.done():
            job.future.set_exception(failure)
