"""Brings one rotation on. May be killed at any point: what is in the database is whole, and the next runner goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base import crash
from keycast.base.errors import KeycastError, Unavailable
from keys.models import Rotation, RotationState
from keys.rotation import lease
from keys.rotation.errors import RotationLeaseLost
from keys.rotation.jobs import actor_of, job_of
from keys.rotation.lease import RotationLease
from keys.rotation.protocol import Change, RetryLater, RotationItem, RotationJob, RotationKind
from keys.rotation.registry import kind_of
from keys.rotation.services import UNFINISHED, seconds_of, write

logger = logging.getLogger(__name__)

MAX_WAITS: Final = 5
"""So many times in a row a rotation waits for what is away; then it goes on and counts what fails."""
LONGEST_WAIT: Final = 60.0
FAILURES_KEPT: Final = 1000
SETTLING: Final = "settling"

Observer = Callable[[Rotation], None]
Tried = tuple[RotationItem, Change | KeycastError | None]


def run_for(rotation_id: UUID, *, seconds: float = 20.0, observe: Observer = lambda rotation: None) -> Rotation:
    """Work on it for about so many seconds, if nobody else does; returns the row as it is then.

    Safe to call from anywhere, any number of times at once. ``observe`` is told after every batch.
    """
    # A rotation may be of one key, one tenant, or everything.
    with scopes_disabled():
        held = lease.acquire(rotation_id)
        if held is not None:
            try:
                _RotationRun(held, time.monotonic() + seconds, observe).go()
            except RotationLeaseLost:
                logger.warning("a rotation was taken over", extra={"rotation": str(rotation_id)})
            finally:
                held.release()
        return Rotation.objects.get(pk=rotation_id)


class _RotationRun:
    """One turn of one process."""

    def __init__(self, held: RotationLease, until: float, observe: Observer) -> None:
        self._lease, self._until, self._observe = held, until, observe
        self._at = time.monotonic()
        self._row = Rotation.objects.get(pk=held.rotation_id)
        self._kind: RotationKind = kind_of(self._row.kind)

    def go(self) -> None:
        """Until it has ended, has to wait, or the time is over. Raises RotationLeaseLost."""
        if self._row.state == RotationState.PENDING and not self._prepared():
            return
        while time.monotonic() < self._until and self._row.state in UNFINISHED:
            items = self._kind.items(self._job(), self._row.cursor, self._kind.batch)
            is_going = self._batch(items) if items else self._end_of_pass()
            self._observe(self._row)
            if not is_going:
                return

    def _job(self) -> RotationJob:
        return job_of(self._row, self._keep)

    def _keep(self, **options: Any) -> RotationJob:
        with transaction.atomic():
            row = self._lease.hold()
            row.options = {**row.options, **options}
            row.save(update_fields=["options", "lease_until"])
        self._row = row
        return self._job()

    def _prepared(self) -> bool:
        try:
            self._kind.prepare(self._job())
            crash.point("prepared")
        except KeycastError as error:
            if isinstance(error, Unavailable) and self._row.waits < MAX_WAITS:
                return self._wait(error)
            self._end(RotationState.FAILED, {"error": error.code, "message": error.public_message})
            return False
        total = self._kind.count(self._job())
        with transaction.atomic():
            row = self._lease.hold()
            row.state, row.started_at, row.passes = RotationState.RUNNING, row.started_at or timezone.now(), 1
            # One that is resumed has done some of them already.
            row.total, row.heartbeat_at, row.problem, row.waits = row.done + total, timezone.now(), "", 0
            row.save()
        self._row, self._at = row, time.monotonic()
        return True

    def _batch(self, items: Sequence[RotationItem]) -> bool:
        # Outside of any transaction: opening and sealing may take a round trip each, and no row is locked meanwhile.
        tried = self._try(items)
        crash.point("tried")
        away = [found for _, found in tried if isinstance(found, Unavailable)]
        # All of them: then it is the service that is away, not a key that is damaged. If some went through, the rest
        # is counted as failed and comes again with the next pass.
        if len(away) == len(tried) and self._row.waits < MAX_WAITS:
            return self._wait(away[0])
        with transaction.atomic():
            row = self._lease.hold()
            failures = [failure for failure in (self._stored(item, found, row) for item, found in tried) if failure]
            self._count(row, tried, failures)
            row.save()
            crash.point("stored")
        self._row = row
        crash.point("committed")
        return True

    def _try(self, items: Sequence[RotationItem]) -> list[Tried]:
        job = self._job()
        if self._kind.concurrency == 1 or len(items) == 1:
            return [_tried(self._kind, job, item) for item in items]
        with ThreadPoolExecutor(self._kind.concurrency, "rotation") as pool:
            return list(pool.map(lambda item: _tried(self._kind, job, item), items))

    def _stored(self, item: RotationItem, found: Change | KeycastError | None, row: Rotation) -> dict[str, str] | None:
        """Store one, and count it; what to report when it failed."""
        try:
            if isinstance(found, KeycastError):
                raise found
            with transaction.atomic():
                # A savepoint of its own: what fails here undoes itself alone, and the rest of the batch is stored.
                changed = found is None or found()
        except KeycastError as error:
            self._kind.failed(self._job(), item, error)
            return {"key": str(item.key_id), "item": item.id, "code": error.code, "message": error.public_message}
        if changed:
            row.done += 1
            row.moved += 1
        return None

    def _count(self, row: Rotation, tried: Sequence[Tried], failures: Sequence[dict[str, str]]) -> None:
        row.cursor, row.heartbeat_at, row.not_before, row.problem = tried[-1][0].id, timezone.now(), None, ""
        row.failed += len(failures)
        row.total = max(row.total, row.done + row.failed)
        if len(failures) < len(tried):
            row.waits = 0
        kept: list[dict[str, str]] = [*row.report.get("failures", ()), *failures]
        row.report = {**row.report, "failures": kept[:FAILURES_KEPT]}
        now = time.monotonic()
        rate = len(tried) / max(now - self._at, 0.001)
        # Smoothed, for a batch that waited for an HSM says little about the time that is left.
        row.rate = rate if not row.rate else 0.8 * row.rate + 0.2 * rate
        self._at = now

    def _wait(self, error: KeycastError) -> bool:
        """Stop for now; the next turn tries the same items again."""
        with transaction.atomic():
            row = self._lease.hold()
            row.waits, row.problem = min(row.waits + 1, MAX_WAITS), error.code
            row.not_before = timezone.now() + timedelta(seconds=min(2.0**row.waits, LONGEST_WAIT))
            row.save()
        self._row = row
        logger.warning("a rotation waits", extra={"rotation": str(row.id), "code": error.code})
        return False

    def _end_of_pass(self) -> bool:
        """After the last item: another pass if this one changed anything, else the end, if the kind agrees."""
        # Only a pass that found nothing to change ends it: rows sealed the old way may have come while this one ran.
        if self._row.moved:
            self._next_pass(None)
            return True
        more = self._kind.finish(self._job())
        if isinstance(more, RetryLater):
            self._next_pass(more)
            return False
        failed = self._row.failed
        self._end(RotationState.FAILED if failed else RotationState.DONE, dict(more))
        return False

    def _next_pass(self, wait: RetryLater | None) -> None:
        with transaction.atomic():
            row = self._lease.hold()
            row.cursor, row.moved, row.failed, row.passes = "", 0, 0, row.passes + 1
            row.report = {**row.report, "failures": []}
            if wait is None:
                row.heartbeat_at = timezone.now()
            else:
                row.problem, row.not_before = SETTLING, timezone.now() + timedelta(seconds=wait.seconds)
            row.save()
        self._row = row

    def _end(self, state: RotationState, more: dict[str, Any]) -> None:
        with transaction.atomic():
            row = self._lease.hold()
            row.state, row.ended_at, row.not_before, row.problem = state, timezone.now(), None, ""
            row.started_at, row.total = row.started_at or row.ended_at, row.done + row.failed
            row.report = {"failures": [], **row.report, **more, "passes": row.passes, "seconds": seconds_of(row)}
            row.save()
            outcome = AuditOutcome.OK if state == RotationState.DONE else AuditOutcome.FAILED
            facts = {"error": more["error"]} if "error" in more else {}
            write(row, AuditTag.ROTATION_FINISHED, actor_of(row), outcome, done=row.done, failed=row.failed, **facts)
        self._row = row


def _tried(kind: RotationKind, job: RotationJob, item: RotationItem) -> Tried:
    try:
        return item, kind.rotate(job, item)
    except KeycastError as error:
        return item, error


def step_all(rotations: Iterable[UUID], *, seconds: float) -> int:
    """Bring several on, one after the other, for so many seconds in all; how many ended."""
    until, ended = time.monotonic() + seconds, 0
    for rotation_id in rotations:
        left = until - time.monotonic()
        if left <= 0:
            break
        ended += run_for(rotation_id, seconds=left).state not in UNFINISHED
    return ended
