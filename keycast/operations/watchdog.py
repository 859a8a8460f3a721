"""Looks at everything from outside the job cluster, a few times a minute: counts, logs, tells staff, leaves a sign.

Runs beside the web in every process that serves it, and beside ``manage.py bunker``; they agree through the database.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import Error
from django.utils import timezone
from django_q.models import OrmQ

from bunker.worker.database_threads import DatabaseThreads
from keycast.base import service_status
from keycast.base.metrics import FINDINGS, JOBS_FAILED, JOBS_OLDEST, JOBS_SILENT, JOBS_WAITING, SERVICES
from keycast.operations import health, heartbeats, incidents
from keycast.operations.health.processes import is_unavailable
from keycast.operations.models import JobRun, RunOutcome

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 15.0
QUEUE_COUNTED: Final = 1_000


class JobClusterSilent(Exception):
    """The job cluster that we started has given no sign of life for too long."""


async def watch(stop: asyncio.Event, *, is_web: bool = True) -> None:
    """Look around until ``stop`` is set. Raises nothing that the database does."""
    threads, teller = DatabaseThreads("watchdog", 1), Teller()
    try:
        while not stop.is_set():
            try:
                teller.tell(await threads(lambda: check_once(is_web=is_web)))
            except Error as error:
                log.warning("watchdog_blind", error=type(error).__name__)
            await _wait(stop, CHECK_SECONDS)
    finally:
        threads.close()
        teller.close()


class Teller:
    """Writes to staff in a thread of its own: a mail server that does not answer must not stop the looks."""

    def __init__(self) -> None:
        self._threads = DatabaseThreads("watchdog-mail", 1)
        self._task: asyncio.Task[None] | None = None

    def tell(self, report: health.HealthReport) -> None:
        """Begin to write of what is due, unless that is still going on since an earlier look."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell(report), name="keycast:watchdog mail")

    async def _tell(self, report: health.HealthReport) -> None:
        if not database_answers(report):
            return
        try:
            await self._threads(lambda: incidents.tell(report.findings))
        except Error as error:
            log.warning("watchdog_mute", error=type(error).__name__)

    def close(self) -> None:
        """Wait for nothing: a message that is on its way is noted by its thread, or sent again."""
        if self._task is not None:
            self._task.cancel()
        self._threads.close()


async def wait_for_silence(stop: asyncio.Event) -> None:
    """End with JobClusterSilent once the cluster, which starts now, says nothing for too long; return when ``stop`` is.

    A database that does not answer is no silence: a new cluster would have the same trouble.
    """
    threads, started = DatabaseThreads("jobs-watch", 1), time.monotonic()
    limit = settings.JOBS_SILENT_SECONDS
    try:
        while not stop.is_set():
            await _wait(stop, min(limit / 4, CHECK_SECONDS))
            try:
                age = await threads(lambda: heartbeats.seconds_since_heartbeat(heartbeats.JOBS))
            except Error as error:
                log.warning("watchdog_blind", error=type(error).__name__)
                continue
            quiet = time.monotonic() - started
            # The shorter of both: the last sign may be of a cluster before this one, which must have its time to start.
            if not stop.is_set() and min(quiet, quiet if age is None else age) > limit:
                log.error("job_cluster_silent", seconds=round(quiet if age is None else age))
                raise JobClusterSilent
    finally:
        threads.close()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    waiter = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()


def check_once(*, is_web: bool = True) -> health.HealthReport:
    """One look: metrics, incidents, and a sign of our own; what was found. Blocks, and sends nothing."""
    report = health.report()
    count(report)
    if database_answers(report):
        count_jobs()
        incidents.update_incidents(report.findings)
        if is_web:
            heartbeats.record_heartbeat(f"{heartbeats.WEB}{socket.gethostname()[:60]}:{os.getpid()}", web_status())
    return report


def database_answers(report: health.HealthReport) -> bool:
    """Whether it did when it was looked at."""
    return not any(finding.name == "database" and not finding.is_ok for finding in report.findings)


def web_status() -> dict[str, Any]:
    """What a web process says of itself."""
    from bunker.relays.hub import get_hub  # noqa: PLC0415  (starts the built-in relay's hub where nobody did)

    return {"relay_clients": get_hub().connections, "services": service_status.report()}


def count(report: health.HealthReport) -> None:
    """Carry what was found over to the metrics."""
    for finding in report.findings:
        FINDINGS.labels(finding.name).set(int(finding.is_ok))
    for one in service_status.report():
        SERVICES.labels(one["name"]).set(int(not is_unavailable(one)))


def count_jobs() -> None:
    """Carry the state of the queue over to the metrics."""
    age = heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
    JOBS_SILENT.set(float("inf") if age is None else age)
    waiting, oldest = queue()
    JOBS_WAITING.set(waiting)
    JOBS_OLDEST.set(oldest)
    JOBS_FAILED.set(JobRun.objects.filter(outcome=RunOutcome.FAILED).count())


def queue() -> tuple[int, float]:
    """How many jobs wait to begin, and for how many seconds the first of them has. One query; no payload is read."""
    now = timezone.now()
    due = list(OrmQ.objects.filter(lock__lte=now).order_by("lock").values_list("lock", flat=True)[:QUEUE_COUNTED])
    return len(due), (now - due[0]).total_seconds() if due else 0.0
