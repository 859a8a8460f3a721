"""One transaction of the group-commit writer: what it writes, and what its rows say after a lost COMMIT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import connection

from bunker.worker import sql
from bunker.worker.commit_jobs import (
    ABANDONED,
    FENCED,
    PUBLISHED,
    RESEND_MS,
    STORED,
    AlreadyClaimed,
    ClaimWrite,
    Job,
    Outcome,
    ReplyWrite,
)
from keycast.audit.services import append
from keycast.base import crash


class RowsMissing(Exception):
    """A batch statement changed fewer rows than it has: some were known, or lost their fence. Go row by row."""


class CommitTransaction:
    """One transaction's worth of jobs."""

    def __init__(self, cursor: object, owner: str, jobs: Sequence[Job]) -> None:
        self._cursor = cursor
        self._jobs = jobs
        self._owner = owner

    def write_all(self) -> list[Outcome]:
        """Write every job in a few statements. Raises RowsMissing if any row is not as hoped."""
        if not self._jobs:
            return []
        # Looked up in this very transaction: since the requests were admitted, another worker may have got the shard.
        if self._lost_fences():
            raise RowsMissing
        claims = [job.row for job in self._jobs if type(job) is ClaimWrite]
        finishes = [job.row for job in self._jobs if type(job) is ReplyWrite]
        if sql.run_chunked(self._cursor, sql.insert_requests, claims) != len(claims):
            raise RowsMissing
        if sql.run_chunked(self._cursor, sql.finish_requests, finishes) != len(finishes):
            raise RowsMissing
        append(self._cursor, [entry for job in self._jobs for entry in job.entries])
        return [STORED] * len(self._jobs)

    def write_each(self) -> list[Outcome]:
        """Write the jobs one by one, each with an outcome of its own."""
        lost = self._lost_fences()
        outcomes: list[Outcome] = []
        for job in self._jobs:
            outcome = FENCED if job.shard in lost and lost[job.shard] != job.fence else self._write(job)
            if outcome is STORED:
                append(self._cursor, list(job.entries))
            outcomes.append(outcome)
        return outcomes

    def _write(self, job: Job) -> Outcome:
        if type(job) is ClaimWrite:
            if sql.run_chunked(self._cursor, sql.insert_requests, [job.row]) == 1:
                return STORED
            known = sql.known_requests(self._cursor, job.row)
            if self._release_id(job.row, known) and sql.run_chunked(self._cursor, sql.insert_requests, [job.row]) == 1:
                return STORED
            return _as_known(next((row for row in known if row.event_id == job.row.event_id), known[0]))
        if type(job) is ReplyWrite:
            return STORED if sql.run_chunked(self._cursor, sql.finish_requests, [job.row]) == 1 else FENCED
        return STORED

    def _release_id(self, row: sql.RequestRow, known: list[sql.KnownRow]) -> bool:
        """Take the request id from an earlier request that no resend can mean any more; False when there is none.

        Some clients number their requests and begin anew, or draw from 16 bits. The earlier row stays, by its event id.
        """
        if any(found.event_id == row.event_id or not _is_past_resending(found, row.claimed_at) for found in known):
            return False
        for found in known:
            sql.run(self._cursor, sql.release_request_id(connection.vendor), [found.event_id])
        return True

    def _lost_fences(self) -> dict[int, int]:
        """Shards of this batch that this worker does not hold, or not under every job's fence: shard -> true fence."""
        current = sql.fences(self._cursor, sorted({job.shard for job in self._jobs}))
        lost = {}
        for job in self._jobs:
            owner, fence = current.get(job.shard, ("", 0))
            if owner != self._owner:
                lost[job.shard] = -1
            elif fence != job.fence:
                lost[job.shard] = fence
        return lost


def write_rest(cursor: object, published: list[tuple[str, str]], uses: Counter[str], batch: list[Job]) -> None:
    """States of answers that went out, and use counts: those of limited connections in their claim's transaction."""
    for state in (PUBLISHED, ABANDONED):
        rows = [(event_id,) for event_id, to in published if to == state]
        if rows:
            crash.point("before-published-commit")
            sql.run_chunked(cursor, sql.mark_published, rows, state)
    exact = Counter(job.uses for job in batch if type(job) is ClaimWrite and job.uses is not None)
    counts = uses + exact
    if counts:
        at = sql.adapt_time(connection, datetime.now(UTC))
        sql.run_chunked(cursor, sql.count_uses, [(hex_, count, at) for hex_, count in sorted(counts.items())])


def crash_points(when: str, batch: list[Job]) -> None:
    if crash.is_armed():
        for kind, name in ((ClaimWrite, "claim"), (ReplyWrite, "result")):
            if any(type(job) is kind for job in batch):
                crash.point(f"{when}-{name}-commit")


def found_after_lost_commit(cursor: object, job: Job) -> Outcome | None:
    """What the rows say of a job after a lost COMMIT; None when they say nothing."""
    if isinstance(job, ClaimWrite):
        known = sql.known_requests(cursor, job.row)
        if any(_is_same_claim(row, job.row) for row in known):
            return STORED
        return _as_known(known[0]) if known else None
    if isinstance(job, ReplyWrite):
        known = sql.known_event(cursor, job.row.event_id)
        return STORED if any(row.reply == job.row.reply for row in known) else None
    return None


def _is_same_claim(found: sql.KnownRow, claimed: sql.RequestRow) -> bool:
    """True when the row is what this very claim stored, not what an earlier one of the same event did."""
    return (found.event_id, found.fence, found.claimed_at) == (claimed.event_id, claimed.fence, claimed.claimed_at)


def _is_past_resending(found: sql.KnownRow, now: int) -> bool:
    return found.state in (PUBLISHED, ABANDONED) and now - found.claimed_at > RESEND_MS


def _as_known(row: sql.KnownRow) -> AlreadyClaimed:
    return AlreadyClaimed(row.event_id, row.state, row.reply, row.body_hash)
