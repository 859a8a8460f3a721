"""Signs of life: who is there, by what each part last said of itself."""

from __future__ import annotations

import time
from typing import Any, Final

from django.conf import settings
from django.db.models import Min

from bunker.models import WorkerSeat
from keycast.operations.models import Sign

JOBS: Final = "jobs"
WEB: Final = "web:"
WEB_FRESH_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 24 * 3600.0
WORKER_FRESH_MS: Final = 15_000
PROCESS_STARTED: Final = time.time()


def record_heartbeat(name: str, status: dict[str, Any] | None = None) -> None:
    """Say that a part is alive; without ``status`` what it last said of itself stands."""
    values: dict[str, Any] = {"at": time.time_ns() // 1_000_000}
    if status is not None:
        values["status"] = status
    Sign.objects.update_or_create(name=name, defaults=values)


def seconds_since_heartbeat(name: str) -> float | None:
    """How long ago a part last left a sign; None when it never did."""
    at = Sign.objects.filter(name=name).values_list("at", flat=True).first()
    return None if at is None else max(time.time() - at / 1000, 0.0)


def jobs_are_overdue(seconds: float | None) -> bool:
    """Whether so long without a job means that the cluster does not run, or hangs.

    While neither this process nor a worker is older than the limit, that cannot be known: all may just have started.
    """
    limit = float(settings.JOBS_SILENT_SECONDS)
    is_silent = seconds is None or seconds > limit
    return is_silent and time.time() - _running_since() > limit


def _running_since() -> float:
    """Unix time at which the oldest of this process and the workers that are alive was started."""
    fresh = time.time_ns() // 1_000_000 - WORKER_FRESH_MS
    oldest = WorkerSeat.objects.filter(seen_at__gte=fresh).aggregate(at=Min("started_at"))["at"]
    return min(PROCESS_STARTED, oldest.timestamp()) if oldest else PROCESS_STARTED


def delete_old_heartbeats() -> None:
    """Drop signs of processes that ended long ago."""
    old = (time.time() - FORGOTTEN_SECONDS) * 1000
    Sign.objects.filter(name__startswith=WEB, at__lt=old).delete()
