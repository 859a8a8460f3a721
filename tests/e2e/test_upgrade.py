"""Upgrade: a database that an earlier version made, with jobs queued and scheduled, is migrated and goes on signing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EARLIER: Final = "5961d6c17e768c68ed8375cd90c689777e7f43d0"
"""The last commit before modules got floors: jobs were in keycast.jobs, and two columns of keys had other names."""


def run(tree: Path, *arguments: str, variables: dict[str, str] | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCAST", "DJANGO"))}
    for name in ("DATABASE_URL", "REDIS_URL"):
        environment.pop(name, None)
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=tree, env=environment | (variables or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The tree of the earlier version."""
    packed = subprocess.run(["git", "archive", EARLIER], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.fail(f"Commit {EARLIER[:7]} is not in this clone: fetch the whole history (git fetch --unshallow).")
    tree = tmp_path / "earlier"
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


def test_a_database_of_the_version_before_goes_on_signing(earlier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "var"
    demo = ("demo", "--once", "--folder", str(folder), "--port", "18500")
    run(earlier, *demo)
    keys = [key["npub"] for key in json.loads((folder / "demo.json").read_text())["keys"]]
    variables = dict(
        line.split("=", 1) for line in shlex.split((folder / "demo.env").read_text(), comments=True) if "=" in line
    )
    queue = "from django_q.tasks import async_task; print(async_task('keycast.jobs.forget_old_runs'))"
    task = run(earlier, "shell", "-c", queue, variables=variables).split()[-1]

    printed = run(ROOT, *demo)
    assert printed.count("id and BIP-340 signature verified") == 2
    assert [key["npub"] for key in json.loads((folder / "demo.json").read_text())["keys"]] == keys

    look = (
        "import json, time\n"
        "from django_q.models import OrmQ, Schedule\n"
        "from keycast.operations.models import JobRun\n"
        f"run = JobRun.objects.filter(id='{task}').values_list('path', 'outcome').first()\n"
        "paths = list(Schedule.objects.values_list('func', flat=True))\n"
        "print(json.dumps([run, paths, OrmQ.objects.count()]))\n"
    )
    ran, paths, _ = json.loads(run(ROOT, "shell", "-c", look, variables=variables).splitlines()[-1])
    assert ran == ["keycast.jobs.forget_old_runs", "ok"]
    assert "keycast.operations.jobs.heartbeat" in paths
    assert not any(path.startswith("keycast.jobs.") for path in paths)
