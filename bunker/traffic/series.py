"""Figures of a span in equal steps, for charts: a few queries, whatever the span and however many tenants."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import F, Max, Sum

from bunker.models import TrafficHour, TrafficMinute
from bunker.traffic.counts import COLUMNS, EVERYONE, FIRST_BUCKET, OUTCOMES, added, percentile


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """``steps`` slots of ``minutes`` each, up to now. Slots of an hour or more are read from the hours."""

    slug: str
    title: str
    minutes: int
    steps: int


SPANS: Final = (
    TimeSpan("hour", "Last hour", 1, 60),
    TimeSpan("day", "Last day", 15, 96),
    TimeSpan("week", "Last week", 120, 84),
)
LATE_MINUTES: Final = 180
"""The newest part is always read from the minutes, since hours are summed up by a job now and then."""


@dataclass(frozen=True, slots=True)
class TimeSlot:
    """One step: ``at`` is its beginning in Unix seconds, ``numbers`` are those of bunker.traffic.counts.COLUMNS."""

    at: int
    numbers: Sequence[int]

    def outcome(self, outcome: int) -> int:
        """How many requests ended so (SIGNED ... FAILED)."""
        return self.numbers[outcome]

    def percentile(self, share: float) -> float | None:
        """Latency in milliseconds, of the uses of keys within this step."""
        return percentile(self.numbers[FIRST_BUCKET:], share)


@dataclass(frozen=True, slots=True)
class TrafficSeries:
    """Slots in order, without gaps; the last one is still being filled."""

    span: TimeSpan
    slots: Sequence[TimeSlot]

    @property
    def whole(self) -> TimeSlot:
        """The span as one slot."""
        return TimeSlot(self.slots[0].at, added(slot.numbers for slot in self.slots))

    @property
    def is_empty(self) -> bool:
        return not any(any(slot.numbers[: len(OUTCOMES)]) for slot in self.slots)


def span_of(slug: str) -> TimeSpan:
    """The span of that name; the first for any other."""
    return next((span for span in SPANS if span.slug == slug), SPANS[0])


Unwritten = Mapping[str, Sequence[Sequence[int]]]
"""Minutes that workers have not written yet, by worker: [minute, *numbers of all tenants] (worker.tally)."""


def series(
    span: TimeSpan, tenant_id: UUID = EVERYONE, unwritten: Unwritten | None = None, now: float | None = None
) -> TrafficSeries:
    """The figures of one tenant, or of all, up to ``now``. Three queries at most."""
    minute = int(time.time() if now is None else now) // 60
    last = minute // span.minutes
    first = last - span.steps + 1
    sums: dict[int, list[list[int]]] = {}
    for number, row in _rows(span, tenant_id, first * span.minutes, minute, unwritten or {}):
        slot = number // span.minutes
        if first <= slot <= last:
            sums.setdefault(slot, []).append(row)
    slots = [TimeSlot(slot * span.minutes * 60, added(sums.get(slot, ()))) for slot in range(first, last + 1)]
    return TrafficSeries(span, slots)


def _rows(
    span: TimeSpan, tenant_id: UUID, first: int, last: int, unwritten: Unwritten
) -> Iterator[tuple[int, list[int]]]:
    """(minute, numbers): from the hours where they are precise enough, from the minutes, from what is not written."""
    from_minutes = first
    if span.minutes >= 60:
        hours = TrafficHour.objects.filter(tenant_id=tenant_id, hour__gte=first // 60)
        from_minutes = _end_of_hours(hours.aggregate(newest=Max("hour"))["newest"], first, last)
        hours = hours.filter(hour__lt=from_minutes // 60)
        for hour, *numbers in hours.order_by().values_list("hour", *COLUMNS):
            yield hour * 60, numbers
    minutes = TrafficMinute.objects.filter(tenant_id=tenant_id, minute__gte=from_minutes)
    start = F("minute") - F("minute") % min(span.minutes, 60)
    sums = minutes.order_by().values(start=start).annotate(**{f"sum_{name}": Sum(name) for name in COLUMNS})
    for start_of, *numbers in sums.values_list("start", *(f"sum_{name}" for name in COLUMNS)):
        yield start_of, numbers
    if tenant_id == EVERYONE and unwritten:
        yield from _unwritten(unwritten, last)


def _end_of_hours(newest: int | None, first: int, last: int) -> int:
    """Up to which minute the hours are read: not to the very end, and not where the job has not come yet."""
    if newest is None:
        return first
    return max(first, min((newest + 1) * 60, (last - LATE_MINUTES) // 60 * 60))


def _unwritten(unwritten: Unwritten, last: int) -> Iterator[tuple[int, list[int]]]:
    """What workers say they have not written, unless it was written since they said so."""
    told = {(minute, worker): list(row) for worker, rows in unwritten.items() for minute, *row in _sound(rows)}
    written = TrafficMinute.objects.filter(
        tenant_id=EVERYONE, minute__in={minute for minute, _ in told}, worker__in=set(unwritten)
    ).values_list("minute", "worker")
    for place in written if told else ():
        told.pop(place, None)
    for (minute, _), row in told.items():
        if minute <= last:
            yield minute, row


def _sound(rows: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
    """Rows of whole numbers of the right length: another version of Keycast may have published them."""
    for row in rows:
        if isinstance(row, list) and len(row) == 1 + len(COLUMNS) and all(isinstance(number, int) for number in row):
            yield row
