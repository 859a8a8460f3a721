"""Sums minutes up into hours, and forgets both in time. Every step may be repeated."""

from __future__ import annotations

import time
from typing import Final

from django.db import connection, transaction
from django.db.models import Max, Min, Sum

from bunker.models import TrafficHour, TrafficMinute
from bunker.traffic.counts import COLUMNS

MINUTES_KEPT: Final = 3 * 24 * 60
HOURS_KEPT: Final = 90 * 24
LATEST_HOURS: Final = 3
"""Hours that are summed up again each time: a worker whose database was away writes its minutes late."""
BATCH: Final = 2_000


def roll_up(now: float | None = None) -> int:
    """Bring the hours up to the present one; returns how many rows of hours were written. Blocks.

    Begins where the last time ended, however long ago that was.
    """
    present = int(time.time() if now is None else now) // 3600
    newest = TrafficHour.objects.aggregate(newest=Max("hour"))["newest"]
    oldest = TrafficMinute.objects.aggregate(oldest=Min("minute"))["oldest"]
    if oldest is None:
        return 0
    first = oldest // 60 if newest is None else max(min(newest, present) - LATEST_HOURS + 1, oldest // 60)
    return sum(_sum_up(hour) for hour in range(first, present + 1))


def _sum_up(hour: int) -> int:
    """Write the hour's sums from its minutes, all of which are still there."""
    minutes = TrafficMinute.objects.filter(minute__gte=hour * 60, minute__lt=(hour + 1) * 60)
    sums = minutes.values("tenant_id").order_by().annotate(**{f"sum_{name}": Sum(name) for name in COLUMNS})
    found = sums.values_list("tenant_id", *(f"sum_{name}" for name in COLUMNS))
    rows = [TrafficHour(hour=hour, tenant_id=tenant, **dict(zip(COLUMNS, row, strict=True))) for tenant, *row in found]
    TrafficHour.objects.bulk_create(
        rows, batch_size=500, update_conflicts=True, unique_fields=["tenant_id", "hour"], update_fields=list(COLUMNS)
    )
    return len(rows)


def forget(now: float | None = None, limit: int = 50 * BATCH) -> int:
    """Delete minutes that are in their hours, and hours, once they are old enough; returns how many. Blocks."""
    minute = int(time.time() if now is None else now) // 60
    deleted = _forget(TrafficMinute, "minute", minute - MINUTES_KEPT, limit)
    return deleted + _forget(TrafficHour, "hour", minute // 60 - HOURS_KEPT, limit)


def _forget(model: type[TrafficMinute] | type[TrafficHour], column: str, before: int, limit: int) -> int:
    deleted = 0
    while deleted < limit:
        old = list(
            model._default_manager.filter(**{f"{column}__lt": before})
            .order_by(column)
            .values_list("pk", flat=True)[:BATCH]
        )
        with transaction.atomic():
            model._default_manager.filter(pk__in=old)._raw_delete(connection.alias)
        deleted += len(old)
        if len(old) < BATCH:
            break
    return deleted
