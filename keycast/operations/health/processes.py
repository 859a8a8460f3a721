"""What this app adds to keycast.operations.health: jobs, and the services that workers lean on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django_scopes import scopes_disabled

from bunker.models import WorkerSeat
from keycast.base.findings import HealthCheck, HealthFinding, Severity
from keycast.operations import health, heartbeats
from keycast.operations.models import JobRun, RunOutcome, Sign
from keys.models import KeyState, PersonalKey
from keys.selectors import overdue_hsm_changes

PENDING_TOO_LONG: Final = timedelta(minutes=15)
FAILED_LATELY: Final = timedelta(hours=24)
FAILURE_SECONDS: Final = 600
JOBS_PAGE: Final = "admin:jobs"


def jobs() -> HealthFinding:
    """Background jobs run. Any job that begins or ends is a sign; one begins every minute."""
    age = heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
    start = "Restart the server (embedded shape)" if settings.EMBEDDED else "Restart: manage.py qcluster"
    fix = f"{start}. Until then nothing is verified, pruned, rotated or destroyed; signing goes on."
    if age is None:
        detail = "No job has run yet; the first runs half a minute after the start."
    else:
        detail = f"The last sign of a job is {duration_in_words(age)} old."
    is_ok = not heartbeats.jobs_are_overdue(age)
    return HealthFinding("jobs", is_ok, detail, fix, Severity.WARNING, JOBS_PAGE, tells=True)


def failed_jobs() -> HealthFinding | None:
    """The last run of each job went well."""
    later = JobRun.objects.filter(path=OuterRef("path"), outcome=RunOutcome.OK, started_at__gt=OuterRef("started_at"))
    since = timezone.now() - FAILED_LATELY
    rows = JobRun.objects.filter(~Exists(later), outcome=RunOutcome.FAILED, started_at__gte=since)
    failed = sorted(set(rows.values_list("path", flat=True)[:100]))
    if not failed:
        return None
    names = [path.rpartition(".")[2].replace("_", " ") for path in failed]
    detail = f"Failed when last run: {', '.join(names[:5])}."
    fix = "See why, and run it again once the cause is gone."
    return HealthFinding("failed jobs", False, detail, fix, Severity.WARNING, JOBS_PAGE)


def pending_keys() -> HealthFinding | None:
    """No key waits for its HSM longer than it should."""
    # Health is the whole deployment's.
    with scopes_disabled():
        late = PersonalKey.objects.filter(
            state=KeyState.PENDING, created_at__lt=timezone.now() - PENDING_TOO_LONG
        ).count()
    if not late:
        return None
    detail = f"{late} of all keys wait for their HSM for more than {PENDING_TOO_LONG.seconds // 60} minutes."
    fix = "Look at the HSM and at the job that finishes pending keys."
    return HealthFinding("pending keys", False, detail, fix, Severity.WARNING, "admin:keys_personalkey_changelist")


def hsm_changes() -> HealthFinding | None:
    """The HSM and the co-signer have heard of every change of a key."""
    late = overdue_hsm_changes(timezone.now() - PENDING_TOO_LONG)
    if not late:
        return None
    waiting = ", ".join(f"{count} {name}" for name, count in late.items())
    fix = "Look at the HSM, the co-signer and the job that keeps up with them; what waits is tried again by itself."
    return HealthFinding("HSM changes", False, f"Not done yet: {waiting}.", fix, Severity.WARNING)


def services() -> HealthFinding | None:
    """Cloud KMS, NetHSM, co-signer and signer answer, as the processes that call them see it."""
    away = sorted({reported["name"] for _, reported in service_statuses() if is_unavailable(reported)})
    if not away:
        return None
    fix = "Run: manage.py doctor. Keys that need them cannot sign; calls are tried again by themselves."
    return HealthFinding(
        "services", False, f"No good answer lately: {', '.join(away)}.", fix, Severity.WARNING, tells=True
    )


def is_unavailable(reported: dict[str, Any]) -> bool:
    """Whether a published reported (keycast.base.service_status) says that the service does not answer at present.

    A failure after which nobody has called says nothing of the present any more.
    """
    return has_failed_last(reported) and time.time() - reported["bad_at"] <= FAILURE_SECONDS


def has_failed_last(reported: dict[str, Any]) -> bool:
    """Whether the last that is known of the service is a failure."""
    return bool(reported["open"] or reported["bad_at"] > reported["good_at"])


def service_statuses() -> Iterator[tuple[str, dict[str, Any]]]:
    """(process, reported) of every process that is alive: workers, the job cluster, web processes. Two queries."""
    fresh = time.time_ns() // 1_000_000 - health.WORKER_ALIVE_MS
    for seat in WorkerSeat.objects.filter(seen_at__gte=fresh).order_by("host", "pid")[:50]:
        for reported in valid_service_statuses(seat.status):
            yield f"worker {seat.host}:{seat.pid}", reported
    oldest = time.time() - settings.JOBS_SILENT_SECONDS
    for sign in Sign.objects.filter(at__gte=int(oldest * 1000)).order_by("name")[:50]:
        for reported in valid_service_statuses(sign.status):
            yield sign.name.replace(":", " ", 1), reported


def valid_service_statuses(status: Any) -> Iterator[dict[str, Any]]:
    """The statuses of services in a published one that are as keycast.base.service_status makes them."""
    wanted = {"name": str, "open": bool, "good_at": int, "bad_at": int, "error": str}
    for reported in list_in_status(status, "services"):
        if isinstance(reported, dict) and all(isinstance(reported.get(name), kind) for name, kind in wanted.items()):
            yield reported


def list_in_status(status: Any, name: str) -> list[Any]:
    """A list in a published status; empty where it is missing: another version of Keycast may have published it."""
    found = status.get(name) if isinstance(status, dict) else None
    return found if isinstance(found, list) else []


def duration_in_words(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


HEALTH_CHECKS: tuple[HealthCheck, ...] = (jobs, services, failed_jobs, pending_keys, hsm_changes)
