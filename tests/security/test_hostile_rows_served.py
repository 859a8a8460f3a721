"""Somebody who can write the database or Redis, against real processes: nothing that they write runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import LiveServer, live
from tests.e2e.test_processes_apart import redis
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEARTBEAT = ["keycast.operations.jobs.heartbeat", "ok", ""]
IMPORTS = (
    "import json; from pathlib import Path; from keycast.operations.models import JobRun;"
    "from django_q.models import OrmQ, Schedule"
)
STATE = (
    "json.dumps([list(JobRun.objects.order_by('started_at').values_list('path', 'outcome', 'error')),"
    " OrmQ.objects.filter(payload__contains=':1aaaaa:').count(),"
    " Schedule.objects.filter(func='os.mkdir').count()])"
)
MET = (
    "(lambda runs, queued, scheduled: not queued and not scheduled and"
    f" {HEARTBEAT} in runs[next((n for n, run in enumerate(runs) if run[2] == 'JobNotRegistered'), len(runs)) :]"
    ")(*json.loads(found))"
)
"""Scheduler and queue have met what was planted, and jobs ran afterwards."""


@contextmanager
def worker_and_jobs(environment: dict[str, str]) -> Iterator[None]:
    commands = [[sys.executable, "manage.py", name] for name in ("bunker", "qcluster")]
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(40)


@pytest.fixture(params=["embedded", "scaled"])
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    if request.param == "embedded":
        with live() as running:
            yield running
        return
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with redis() as url, live({"REDIS_URL": url, "KEYCAST_EMBEDDED": "0"}, worker_and_jobs) as running:
        yield running


def until_jobs_run(server: LiveServer, marks: Path) -> list[Any]:
    """Wait until what was planted has been met, or has left a mark; the jobs that ran."""
    marked = f"any(Path({str(marks)!r}).iterdir())"
    runs, queued, scheduled = json.loads(server.until(IMPORTS, STATE, f"{marked} or {MET}").splitlines()[-1])
    if any(marks.iterdir()):
        return []
    assert (queued, scheduled) == (0, 0), str(runs[-10:])
    assert HEARTBEAT in runs, str(runs[-10:])
    return list(runs)


def test_nothing_that_is_written_into_tables_and_caches_runs(server: LiveServer, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {**server.environment, "DJANGO_SETTINGS_MODULE": "keycast.settings"}
    planted = [sys.executable, "-m", "tests.security.hostile_rows", str(marks)]
    subprocess.run(planted, cwd=ROOT, env=environment, check=True)
    runs = until_jobs_run(server, marks)
    assert list(marks.iterdir()) == []
    refused = [path for path, outcome, error in runs if (outcome, error) == ("failed", "JobNotRegistered")]
    assert "os.mkdir" in refused, "what was refused is shown to staff"
