"""Background jobs as staff see them, and the one thing they can do: run a scheduled job now.

Only jobs of the table in code can be run: they take no arguments and may run twice. Nothing here reads what django-q2
pickled (arguments, results); see keycast.operations.job_records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.text import slugify
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError, NotFound
from keycast.operations import heartbeats, jobs
from keycast.operations.health import processes
from keycast.operations.models import JobRun, RunOutcome
from keycast.operations.watchdog import QUEUE_COUNTED, queue

RUNS_SHOWN: Final = 100
LONGEST_QUEUE: Final = 50
"""Jobs that may wait before staff can add no more by hand."""


class QueueFull(KeycastError):
    """So much waits that one more would help nobody."""

    code = "job-queue-full"
    public_message = "Many jobs wait already. Look at why they do not run before adding more."
    http_status = 409


@dataclass(frozen=True, slots=True)
class JobRunView:
    """One run. ``outcome`` is a word for people, ``look`` good, bad or quiet."""

    name: str
    slug: str
    started_at: datetime
    seconds: float | None
    outcome: str
    look: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """One scheduled job: what the code says of it, and how its last run went."""

    slug: str
    name: str
    what: str
    every: str
    next_run: datetime | None
    is_due: bool
    is_overdue: bool
    last: JobRunView | None


def schedules() -> list[ScheduledJob]:
    """Every job of the table, in its order. Two queries."""
    newest = JobRun.objects.filter(path=OuterRef("func")).order_by("-started_at").values("pk")[:1]
    rows = {
        row["func"]: row for row in Schedule.objects.annotate(last=Subquery(newest)).values("func", "next_run", "last")
    }
    runs = JobRun.objects.in_bulk([row["last"] for row in rows.values() if row["last"]])
    return [_job(name, path, minutes, rows.get(path), runs) for name, path, minutes in jobs.SCHEDULES]


def schedule(slug: str) -> ScheduledJob:
    """One job of the table, without its runs. Raises NotFound."""
    for name, path, minutes in jobs.SCHEDULES:
        if slugify(name) == slug:
            return _job(name, path, minutes, None, {})
    raise NotFound("There is no such job.")


def _job(name: str, path: str, minutes: int, row: dict[str, Any] | None, runs: dict[str, JobRun]) -> ScheduledJob:
    next_run: datetime | None = row["next_run"] if row else None
    late = timezone.now() - timedelta(seconds=settings.JOBS_SILENT_SECONDS)
    last = runs.get(row["last"]) if row and row["last"] else None
    return ScheduledJob(
        slugify(name),
        name,
        purpose(path),
        every(minutes),
        next_run,
        next_run is not None and next_run < timezone.now(),
        next_run is not None and next_run < late,
        None if last is None else as_run(last, {path: name}),
    )


def purpose(path: str) -> str:
    """What a job does: the first line of its function's docstring. Only for paths of the table."""
    module, _, name = path.rpartition(".")
    text: str = getattr(import_module(module), name).__doc__ or ""
    return text.strip().partition("\n")[0].partition("; returns")[0].rstrip(".")


def every(minutes: int) -> str:
    """How often, in words."""
    for size, one, many in ((1440, "day", "days"), (60, "hour", "hours"), (1, "minute", "minutes")):
        if minutes % size == 0:
            return f"every {one}" if minutes == size else f"every {minutes // size} {many}"
    return f"every {minutes} minutes"


def newest_runs(*, only_failed: bool = False) -> Sequence[JobRunView]:
    """The newest runs, of single jobs too. One query."""
    names = {path: name for name, path, _ in jobs.SCHEDULES}
    rows = JobRun.objects.filter(outcome=RunOutcome.FAILED) if only_failed else JobRun.objects.all()
    return [as_run(row, names) for row in rows.order_by("-started_at")[:RUNS_SHOWN]]


def as_run(row: JobRun, names: dict[str, str]) -> JobRunView:
    """A run as pages show it; one that began long ago and never ended broke off."""
    name = names.get(row.path)
    shown = name or row.path.rpartition(".")[2].replace("_", " ")
    seconds = (row.ended_at - row.started_at).total_seconds() if row.ended_at else None
    outcome, look = RunOutcome(row.outcome).label, {"ok": "good", "failed": "bad"}.get(row.outcome, "quiet")
    longest = timedelta(seconds=settings.Q_CLUSTER["retry"])
    if row.outcome == RunOutcome.RUNNING and timezone.now() - row.started_at > longest:
        outcome, look = "Broken off", "bad"
    return JobRunView(
        shown, slugify(name) if name else "", row.started_at, seconds, outcome, look, row.error, row.message
    )


def state_of_queue() -> dict[str, Any]:
    """How much waits and for how long, and the last sign of life. Three queries."""
    waiting, oldest = queue()
    age = heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
    return {
        "waiting": f"{QUEUE_COUNTED:,} or more" if waiting >= QUEUE_COUNTED else f"{waiting:,}",
        "oldest": processes.duration_in_words(oldest) if waiting else "",
        "running": OrmQ.objects.filter(lock__gt=timezone.now()).count(),
        "sign": None if age is None else processes.duration_in_words(age),
        "is_silent": heartbeats.jobs_are_overdue(age),
    }


@transaction.atomic
def run_now(*, actor: Actor, slug: str, reason: str) -> None:
    """Put a scheduled job into the queue. Raises NotPermitted, NotFound, QueueFull."""
    require_actor(actor, StaffPermission.OPERATE)
    job = schedule(slug)
    path = next(path for name, path, _ in jobs.SCHEDULES if name == job.name)
    if queue()[0] >= LONGEST_QUEUE:
        raise QueueFull
    async_task(path)
    record(AuditEntry("platform", AuditTag.JOB_RUN, AuditOutcome.OK, actor, data={"job": job.name, "reason": reason}))
