"""Background jobs: what runs, how often, and that it did run. Schedules exist in code alone.

A schedule's row names any Python path, so whoever can write one can run code: rows that are not in this table are
removed whenever the job cluster starts, and no admin shows them. Jobs take no arguments and may run twice.
"""

from __future__ import annotations

import time
from typing import Final

import structlog
from django.core.cache import cache
from django.core.management import call_command
from django.db import transaction
from django_q.models import Schedule

from bunker.services.pairing import lapse_unused_secrets
from bunker.worker.maintenance import prune
from keycast.audit.verification import verify
from keys import jobs as key_jobs

log = structlog.get_logger(__name__)

HOUR: Final = 60
DAY: Final = 24 * HOUR

SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("heartbeat", "keycast.jobs.heartbeat", 1),
    ("close unused bunker URLs", "keycast.jobs.close_unused_bunker_urls", 5),
    ("forget old requests", "keycast.jobs.forget_old_requests", 10),
    ("forget ended sessions", "keycast.jobs.forget_ended_sessions", DAY),
    ("verify the audit log", "keycast.jobs.verify_audit_log", DAY),
    *key_jobs.SCHEDULES,
)
"""Name, dotted path, minutes between runs."""

HEARTBEAT: Final = "keycast:jobs:heartbeat"
AUDIT_VERIFIED: Final = "keycast:jobs:audit-verified"
KEPT_SECONDS: Final = 7 * 24 * 3600


@transaction.atomic
def register_schedules() -> None:
    """Make the schedule rows say what SCHEDULES says, no more and no less."""
    Schedule.objects.exclude(name__in=[name for name, _, _ in SCHEDULES]).delete()
    for name, path, minutes in SCHEDULES:
        wanted = {"func": path, "schedule_type": Schedule.MINUTES, "minutes": minutes, "repeats": -1}
        rows = Schedule.objects.filter(name=name)
        if rows.count() != 1 or rows.filter(args=None, kwargs=None, hook=None, **wanted).count() != 1:
            rows.delete()
            Schedule.objects.create(name=name, **wanted)


def heartbeat() -> None:
    """Leave a sign that jobs run."""
    cache.set(HEARTBEAT, time.time(), KEPT_SECONDS)


def close_unused_bunker_urls() -> int:
    """Close connections whose one-time secret nobody used in time."""
    return lapse_unused_secrets()


def forget_old_requests() -> int:
    """Drop requests and changes that have been remembered long enough."""
    return prune()


def forget_ended_sessions() -> None:
    """Drop sessions that have run out."""
    call_command("clearsessions")


def verify_audit_log() -> bool:
    """Check every chain from its beginning; a break is logged as critical and shown to staff."""
    report = verify()
    cache.set(AUDIT_VERIFIED, {"at": time.time(), **report.as_dict()}, KEPT_SECONDS)
    for fault in report.faults:
        log.critical("audit_chain_broken", chain=fault.chain, sequence=fault.sequence, problem=fault.problem)
    return report.is_intact


def last_verification() -> dict[str, object] | None:
    """When the audit log was last verified (``at``, Unix seconds) and what was found; None when it never was."""
    found = cache.get(AUDIT_VERIFIED)
    return found if isinstance(found, dict) else None


def seconds_since_heartbeat() -> float | None:
    """How long ago a job last ran; None when none did within a week."""
    at = cache.get(HEARTBEAT)
    return max(time.time() - at, 0.0) if isinstance(at, float) else None
