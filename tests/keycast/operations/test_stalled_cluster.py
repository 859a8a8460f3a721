"""The real job cluster, stopped in the middle of its life: seen from outside, ended, started again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django_q.tasks import async_task
from pytest_django import Settings

from keycast.base import child_processes
from keycast.base.supervision import SupervisedService, Supervisor
from keycast.lifespan import run_jobs
from keycast.operations import heartbeats
from keycast.operations.health import processes
from keycast.operations.models import Incident, JobRun, Sign
from keycast.operations.watchdog import check_once
from tests import waiting
from tests.keys.rotation.forking import database_url

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.django_db(transaction=True)]


async def until(holds: Callable[[], bool], what: str) -> None:
    await sync_to_async(waiting.until)(holds, what, pause=0.2)


def cluster() -> int:
    """The process id of our child ``manage.py qcluster``; 0 when there is none."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and b"qcluster" in status.with_name("cmdline").read_bytes():
                return int(status.parent.name)
        except OSError:
            continue
    return 0


def members(group: int) -> int:
    """How many processes of a group are left (zombies do not count)."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += int(fields[2]) == group and fields[0] != "Z"
    return found


@pytest.fixture
async def jobs_run(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Supervisor]:
    """The embedded server's job cluster on the test's database, and a job for it every second."""
    settings.JOBS_SILENT_SECONDS = 15
    monkeypatch.setenv("DATABASE_URL", database_url())
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "keycast.settings")
    monkeypatch.setattr(child_processes, "STOP_WITHIN", 1.0)
    supervisor = Supervisor([SupervisedService("jobs", run_jobs)])
    supervisor.start()
    feeder = asyncio.create_task(feed())
    try:
        yield supervisor
    finally:
        feeder.cancel()
        await supervisor.stop()


async def feed() -> None:
    while True:
        with suppress(OperationalError):  # the cluster may have been stopped while it wrote
            await sync_to_async(async_task)("keycast.operations.jobs.heartbeat")
        await asyncio.sleep(1)


def has_looked() -> bool:
    try:
        check_once()
    except OperationalError:
        return False
    return True


async def test_a_cluster_that_stops_is_found_and_started_again(jobs_run: Supervisor) -> None:
    await until(lambda: JobRun.objects.filter(outcome="ok").exists(), "no job ever ran")
    first = await sync_to_async(cluster)()
    os.killpg(first, signal.SIGSTOP)
    await until(lambda: not processes.jobs().is_ok, "nobody noticed")
    await until(has_looked, "the database stayed locked")
    assert await Incident.objects.filter(name="jobs", ended_at=None).aexists()
    await until(lambda: members(first) == 0, "the cluster that hung is still there")
    stopped_at = (await Sign.objects.aget(name=heartbeats.JOBS)).at
    await until(lambda: Sign.objects.get(name=heartbeats.JOBS).at > stopped_at, "no job ran again")
    assert await sync_to_async(cluster)() not in {0, first}
    await until(lambda: processes.jobs().is_ok, "it is still said to be silent")
    await until(has_looked, "the database stayed locked")
    assert not await Incident.objects.filter(name="jobs", ended_at=None).aexists()
