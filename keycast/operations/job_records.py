"""Writes down each run of a job, from within the job cluster (django-q2's signals).

What its pages show is written here, and here alone: django-q2's own table of results holds pickles, and nothing of it
is read or written (job_packages, job_cluster).
"""

from __future__ import annotations

import sys
import uuid
from datetime import timedelta
from typing import Any, Final

import structlog
from django.db import Error, connection
from django.db.models import F
from django.utils import timezone
from django_q.models import Task
from django_q.signals import post_execute_in_worker, pre_execute

from keycast.base.errors import KeycastError
from keycast.operations import heartbeats
from keycast.operations.models import Incident, JobRun, RunOutcome

log = structlog.get_logger(__name__)

KEPT_DAYS: Final = 3
# Longer than the runs that went well: somebody looks into a failure after the holidays, too.
FAILURES_KEPT_DAYS: Final = 30
INCIDENTS_KEPT_DAYS: Final = 365
_TRACEBACK: Final = " : Traceback (most recent call last):"


def connect() -> None:
    """Listen to the job cluster; in other processes nothing is ever heard."""
    pre_execute.connect(_began, dispatch_uid="keycast.operations")
    post_execute_in_worker.connect(_ended, dispatch_uid="keycast.operations")


def _began(*, task: dict[str, Any], **_: Any) -> None:
    try:
        # A sign at both ends: a job may take up to five minutes, and is no silence.
        heartbeats.record_heartbeat(heartbeats.JOBS)
        begun = {
            "path": str(task["func"])[:256],
            "started_at": timezone.now(),
            "ended_at": None,
            "outcome": RunOutcome.RUNNING,
            "error": "",
            "message": "",
        }
        JobRun.objects.update_or_create(
            id=str(task["id"])[:32],
            defaults={**begun, "attempts": F("attempts") + 1},
            create_defaults={**begun, "attempts": 1},
        )
    except Error as failure:  # the job itself will say more about the database
        log.warning("job_not_recorded", error=type(failure).__name__)


def _ended(*, task: dict[str, Any], **_: Any) -> None:
    is_ok = bool(task.get("success"))
    error, message = ("", "") if is_ok else what_failed(str(task.get("result", "")))
    if not is_ok:
        log.error("job_failed", job=str(task["func"])[:256], error=error)
    try:
        heartbeats.record_heartbeat(heartbeats.JOBS)
        JobRun.objects.filter(id=str(task["id"])[:32]).update(
            ended_at=timezone.now(),
            outcome=RunOutcome.OK if is_ok else RunOutcome.FAILED,
            error=error[:200],
            message=message[:300],
        )
    except Error as failure:
        log.warning("job_not_recorded", error=type(failure).__name__)


def refuse(path: str, why: str) -> None:
    """Write down that something was asked for which is no job; staff see it among the runs that failed."""
    log.error("job_refused", job=path[:256], why=why)
    now, text = timezone.now(), path.replace("\0", "")[:256]
    JobRun.objects.create(
        id=uuid.uuid4().hex,
        path=text,
        started_at=now,
        ended_at=now,
        outcome=RunOutcome.FAILED,
        error="JobNotRegistered",
        message=why,
    )


def what_failed(result: str) -> tuple[str, str]:
    """The class of the error in django-q2's text of a failure, and its sentence if that is one for the public.

    The text is ``str(error) : Traceback ...``. Only an error of ours has a text that may leave the process.
    """
    text, mark, trace = result.partition(_TRACEBACK)
    last = trace.rstrip().rpartition("\n")[2] if mark else ""
    name = last.partition(":")[0].strip()
    # The last line of a traceback may be anything, also text with somebody's data in it.
    if not name.replace(".", "").replace("_", "").isalnum():
        return "Error", ""
    found = _class_of(name)
    is_ours = isinstance(found, type) and issubclass(found, KeycastError)
    return name.rpartition(".")[2], text if is_ours else ""


def _class_of(name: str) -> Any:
    """The class of that dotted name, if its module is loaded; nothing is imported by name."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def forget() -> int:
    """Delete runs and incidents that are old, and what django-q2 keeps of failed tasks; returns how many. Blocks."""
    now = timezone.now()
    old, older = now - timedelta(days=KEPT_DAYS), now - timedelta(days=FAILURES_KEPT_DAYS)
    # Those that never ended go with them: they broke off days ago.
    deleted = JobRun.objects.filter(started_at__lt=old).exclude(outcome=RunOutcome.FAILED).delete()[0]
    deleted += JobRun.objects.filter(started_at__lt=older).delete()[0]
    deleted += Incident.objects.filter(ended_at__lt=now - timedelta(days=INCIDENTS_KEPT_DAYS)).delete()[0]
    # Without reading the rows, since they hold pickles.
    tasks: int = Task.objects.filter(success=False, stopped__lt=older).order_by()._raw_delete(connection.alias)
    heartbeats.delete_old_heartbeats()
    return deleted + tasks
