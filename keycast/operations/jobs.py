"""Background jobs: what runs, how often, and that it did run. Schedules exist in code alone.

A schedule's row names any Python path, so whoever can write one can run code: rows that are not in this table are
removed whenever the job cluster starts, and no admin shows them. Jobs take no arguments and may run twice.
"""

from __future__ import annotations

from typing import Final

import structlog
from django.core.management import call_command
from django.db import transaction
from django_q.models import Schedule

from accounts.mail import jobs as mail_jobs
from accounts.panic.services import expire_releases
from accounts.services.domains import check_claims
from accounts.staff.approvals.services import expire as expire_approvals
from bunker.services.pairing import lapse_unused_secrets
from bunker.services.transports import retire_transports
from bunker.traffic import rollup
from bunker.worker.maintenance import prune
from keycast.audit import jobs as audit_jobs
from keycast.audit import verification_runs
from keycast.audit.journal_writer import catch_up
from keycast.base import service_status
from keycast.operations import heartbeats, job_records
from keys import jobs as key_jobs

log = structlog.get_logger(__name__)

HOUR: Final = 60
DAY: Final = 24 * HOUR

SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("heartbeat", "keycast.operations.jobs.heartbeat", 1),
    ("close unused bunker URLs", "keycast.operations.jobs.close_unused_bunker_urls", 5),
    ("close overdue requests for approval", "keycast.operations.jobs.close_overdue_approvals", 5),
    ("look for proofs of host names", "keycast.operations.jobs.check_host_names", 10),
    ("retire replaced remote-signer keys", "keycast.operations.jobs.retire_replaced_signers", 1),
    ("forget old requests", "keycast.operations.jobs.forget_old_requests", 10),
    ("sum up figures", "keycast.operations.jobs.sum_up_figures", 10),
    ("forget old runs of jobs", "keycast.operations.jobs.forget_old_runs", HOUR),
    ("carry endings", "keycast.operations.jobs.carry_endings", 5),
    ("forget ended sessions", "keycast.operations.jobs.forget_ended_sessions", DAY),
    ("verify the audit log", "keycast.operations.jobs.verify_audit_log", DAY),
    *mail_jobs.SCHEDULES,
    *audit_jobs.SCHEDULES,
    *key_jobs.SCHEDULES,
)
"""Name, dotted path, minutes between runs."""


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
    """Leave a sign that jobs run, and what the HSMs and other services answer them."""
    heartbeats.record_heartbeat(heartbeats.JOBS, {"services": service_status.report()})


def sum_up_figures() -> int:
    """Add up the figures of past minutes to hours, and forget old ones; returns how many rows were forgotten."""
    rollup.roll_up()
    return rollup.forget()


def forget_old_runs() -> int:
    """Forget old runs of background jobs and old incidents; returns how many."""
    return job_records.forget()


def close_unused_bunker_urls() -> int:
    """Close connections whose one-time secret nobody used in time."""
    return lapse_unused_secrets()


def check_host_names() -> int:
    """Look in the DNS for proofs of the host names that tenants claim."""
    return check_claims()


def close_overdue_approvals() -> int:
    """Close requests for a second person's approval that nobody decided on in time."""
    return expire_approvals() + expire_releases()


def retire_replaced_signers() -> int:
    """End apps on replaced remote-signer keys when their grace period is over, and then those keys."""
    return retire_transports()


def forget_old_requests() -> int:
    """Drop requests and changes that have been remembered long enough."""
    return prune()


def carry_endings() -> int:
    """Write to the restore journal what a crash or a full disk kept from it; returns how many lines."""
    return catch_up()


def forget_ended_sessions() -> None:
    """Drop sessions that have run out."""
    call_command("clearsessions")


def verify_audit_log() -> bool:
    """Check every chain, once a week from its beginning; False when one is broken or there is no result yet."""
    run = audit_jobs.verify_daily()
    return run is not None and run.state == run.State.INTACT


def last_verification() -> dict[str, object] | None:
    """When the audit log was last verified (``at``, Unix seconds) and what was found; None when it never was."""
    run = verification_runs.last_finished()
    if run is None or run.finished_at is None:
        return None
    return {**run.report, "at": run.finished_at.timestamp(), "intact": run.state == run.State.INTACT}


def seconds_since_heartbeat() -> float | None:
    """How long ago a job last gave a sign; None when none ever did."""
    return heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
