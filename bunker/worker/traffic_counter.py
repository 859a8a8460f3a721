"""Counts what the worker answers, minute by minute and tenant by tenant, and writes closed minutes to the database.

Counting is two additions in memory; nothing here is ever waited for by a request.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import Error

from bunker.models import TrafficMinute
from bunker.traffic.counts import BOUNDS_MS, COLUMNS, EVERYONE, FIRST_BUCKET

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 5.0
ROWS_AT_ONCE: Final = 200
MINUTES_KEPT: Final = 120
"""Closed minutes that wait in memory while the database is away; older ones are given up."""
STOPPING_SECONDS: Final = 3.0
_BOUNDS: Final = tuple(bound / 1000 for bound in BOUNDS_MS)

Row = list[int]
Execute = Callable[[Callable[[], Any]], Awaitable[Any]]


def _zeros() -> Row:
    return [0] * len(COLUMNS)


@dataclass(slots=True)
class TrafficMinuteCount:
    """The numbers of one minute: of every tenant (by chain name), and of all together."""

    number: int
    everyone: Row = field(default_factory=_zeros)
    tenants: dict[str, Row] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[UUID, Row]]:
        """What to store: a row for each tenant and one for all; nothing for a minute without a request."""
        if self.tenants:
            yield EVERYONE, self.everyone
        for chain, row in self.tenants.items():
            yield UUID(chain), row


class TrafficCounter:
    """The running minute and those not written yet. Counted and turned in the event loop only."""

    def __init__(self, now: float | None = None) -> None:
        self._now = TrafficMinuteCount(int(time.time() if now is None else now) // 60)
        self.closed: deque[TrafficMinuteCount] = deque(maxlen=MINUTES_KEPT)

    def count(self, chain: str, outcome: int, seconds: float | None = None) -> None:
        """Count one request of a tenant. ``seconds``: how long a use of a key took, from receipt to durable reply."""
        minute = self._now
        row = minute.tenants.get(chain)
        if row is None:
            row = minute.tenants[chain] = _zeros()
        everyone = minute.everyone
        row[outcome] += 1
        everyone[outcome] += 1
        if seconds is not None:
            bucket = FIRST_BUCKET + bisect_left(_BOUNDS, seconds)
            row[bucket] += 1
            everyone[bucket] += 1

    def turn(self, now: float | None = None, *, is_last: bool = False) -> None:
        """Close the running minute if it is over (``is_last``: in any case). Called about once a second."""
        number = int(time.time() if now is None else now) // 60
        if number == self._now.number and not is_last:
            return
        if self._now.tenants:
            self.closed.append(self._now)
        self._now = TrafficMinuteCount(number)

    def unwritten(self) -> list[list[int]]:
        """The newest minutes that are not in the database, as [minute, *numbers of all tenants]."""
        newest = [*list(self.closed)[-3:], *([self._now] if self._now.tenants else [])]
        return [[minute.number, *minute.everyone] for minute in newest]


def store(worker: str, minute: int, rows: list[tuple[UUID, Row]]) -> None:
    """Write rows of one minute; a repetition writes the same again. Blocks."""
    TrafficMinute.objects.bulk_create(
        [
            TrafficMinute(worker=worker, minute=minute, tenant_id=tenant, **dict(zip(COLUMNS, row, strict=True)))
            for tenant, row in rows
        ],
        update_conflicts=True,
        unique_fields=["tenant_id", "minute", "worker"],
        update_fields=list(COLUMNS),
    )


class TrafficCounterWriter:
    """Brings closed minutes into the database, through ``execute``. A database that is away is tried again."""

    def __init__(self, worker: str, tally: TrafficCounter, execute: Execute) -> None:
        self._worker = worker
        self._tally = tally
        self._execute = execute

    async def run(self) -> None:
        """Write from time to time; returns never."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._tally.turn()
            await self.write()

    async def write(self) -> None:
        """Write what is closed; what cannot be written waits for the next time."""
        closed = self._tally.closed
        while closed:
            minute = closed[0]
            rows = list(minute.rows())
            try:
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    part = rows[start : start + ROWS_AT_ONCE]
                    await self._execute(partial(store, self._worker, minute.number, part))
            except Error as error:
                log.warning("figures_not_written", error=type(error).__name__, minutes=len(closed))
                return
            if closed and closed[0] is minute:
                closed.popleft()

    async def finish(self) -> None:
        """Write everything, the running minute too, before the worker ends; gives up after a few seconds."""
        self._tally.turn(is_last=True)
        try:
            await asyncio.wait_for(self.write(), STOPPING_SECONDS)
        except TimeoutError:
            log.warning("figures_not_written", error="TimeoutError", minutes=len(self._tally.closed))
