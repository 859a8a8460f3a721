"""What django-q2's cluster asks us instead of itself: which jobs are due, and what becomes of one that failed.

Its own scheduler would queue whatever a row names, and its own monitor loads rows with pickled results, and calls hooks
that they name. What runs, and when, is in code (jobs.SCHEDULES); of a row only the time is used.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import Error, close_old_connections, transaction
from django.utils import timezone
from django_q import cluster, monitor
from django_q.models import Schedule
from django_q.tasks import async_task

from keycast.operations import former_queue, jobs
from keycast.operations.models import JobRun

log = structlog.get_logger(__name__)

TICK: Final = timedelta(seconds=15)
"""Half the time between two looks of the cluster: so much early does a job that is due every minute count as due."""


def install() -> None:
    """Have the cluster of this process, and those that it forks, ask the functions below."""
    cluster.scheduler = queue_due_jobs
    monitor.save_task = settle


def queue_due_jobs(broker: Any = None) -> None:
    """Queue each job of the table that is due; called by the cluster twice a minute. Logs a database that is away."""
    close_old_connections()
    try:
        jobs.register_schedules()
        former_queue.carry_over()
        with transaction.atomic():
            for path in _due():
                async_task(path, broker=broker)
    except Error as error:
        log.warning("jobs_not_queued", error=type(error).__name__)


def _due() -> list[str]:
    """Paths of the jobs that are due, each taken by moving its time: of two clusters one alone gets it."""
    names = set(Schedule.objects.filter(next_run__lte=timezone.now()).values_list("name", flat=True))
    return [path for name, path, minutes in jobs.SCHEDULES if name in names and _take(name, minutes)]


def _take(name: str, minutes: int) -> bool:
    now = timezone.now()
    rows = Schedule.objects.filter(name=name, next_run__lte=now)
    return bool(rows.update(next_run=now + timedelta(minutes=minutes) - TICK))


def settle(task: dict[str, Any], broker: Any) -> None:
    """After a run: one that failed stays in the queue until it was tried often enough; nothing else is stored.

    The cluster takes successful ones off the queue itself. What ran is in job_records.
    """
    if task["success"] or not task.get("ack_id"):
        return
    try:
        close_old_connections()
        attempts = JobRun.objects.filter(id=task["id"]).values_list("attempts", flat=True).first() or 0
        if attempts >= settings.Q_CLUSTER["max_attempts"] or not jobs.is_registered(str(task["func"])):
            broker.acknowledge(task["ack_id"])
    except Error as error:
        log.warning("job_not_settled", error=type(error).__name__)
