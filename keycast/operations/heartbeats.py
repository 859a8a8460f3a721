"""Signs of life: who is there, by what each part last said of itself."""

from __future__ import annotations

import time
from typing import Any, Final

from django.conf import settings

from keycast.operations.models import Sign

JOBS: Final = "jobs"
WEB: Final = "web:"
WEB_FRESH_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 24 * 3600.0


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
    """Whether so long without a job means that the cluster does not run, or hangs."""
    return seconds is None or seconds > settings.JOBS_SILENT_SECONDS


def delete_old_heartbeats() -> None:
    """Drop signs of processes that ended long ago."""
    old = (time.time() - FORGOTTEN_SECONDS) * 1000
    Sign.objects.filter(name__startswith=WEB, at__lt=old).delete()
