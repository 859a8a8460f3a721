"""The doctor names what is wrong and what to do, for people and for programs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.core.management import call_command
from django.db import DatabaseError
from pytest_django import Settings

from accounts.models import User
from bunker.models import ShardLease, WorkerSeat
from keycast.audit.verification import ChainFault, VerificationReport
from keycast.operations import doctor, health, jobs
from keycast.operations.health import HealthFinding
from keys import SHARDS
from tests.paths import ROOT

pytestmark = pytest.mark.django_db

FOR_TESTS = {"durability"}
"""Tests run without fsync on either database, and the doctor is right to complain."""


def examine() -> dict[str, HealthFinding]:
    return {finding.name: finding for finding in doctor.examine()}


@pytest.fixture
def healthy() -> None:
    """Signs of life of a worker, its leases and the jobs; two who can decide together."""
    cache.clear()
    for name in ("one", "two"):
        officer = User.objects.create_user(f"{name}@example.org", is_staff=True, staff_role="security-officer")
        Authenticator.objects.create(user=officer, type=Authenticator.Type.TOTP, data={})
    now = time.time_ns() // 1_000_000
    WorkerSeat.objects.create(id="w", host="h", pid=1, seen_at=now)
    ShardLease.objects.bulk_create(
        ShardLease(shard=shard, owner="w", fence=1, expires_at=now + 60_000) for shard in range(SHARDS)
    )
    jobs.heartbeat()


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_fresh_installation_lacks_a_worker_and_two_officers() -> None:
    cache.clear()
    failing = {name for name, finding in examine().items() if not finding.is_ok}
    assert failing - FOR_TESTS == {"workers", "leases", "security officers"}


def test_every_failing_line_says_what_to_do() -> None:
    cache.clear()
    code, text = run()
    assert code == 1
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("FAIL"):
            assert lines[number + 1].strip().startswith("-> "), line


@pytest.mark.usefixtures("healthy")
def test_all_is_well() -> None:
    code, text = run("--json")
    report = json.loads(text)
    failing = {each["name"] for each in report["findings"] if not each["is_ok"]}
    assert failing - FOR_TESTS == set()
    assert (code, report["healthy"]) == (len(failing), not failing)


@pytest.mark.usefixtures("healthy")
def test_a_key_that_does_not_open_is_found(development_key: Any) -> None:
    finding = examine()["keys"]
    assert not finding.is_ok
    assert "sealed" not in finding.detail


@pytest.mark.usefixtures("healthy")
def test_a_broken_audit_log_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = VerificationReport(1, 5, [ChainFault("platform", 3, "hash", "")])
    monkeypatch.setattr(doctor, "verify", lambda: broken)
    assert not examine()["audit log"].is_ok


@pytest.mark.usefixtures("healthy")
def test_a_long_audit_log_relies_on_the_nightly_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROWS_VERIFIED_AT_ONCE", -1)
    assert not examine()["audit log"].is_ok
    jobs.verify_audit_log()
    assert examine()["audit log"].is_ok


@pytest.mark.usefixtures("healthy")
def test_a_shard_without_worker_is_found() -> None:
    ShardLease.objects.filter(shard=3).update(expires_at=0)
    assert examine()["leases"].detail == f"{SHARDS - 1} of {SHARDS} shards are served."


@pytest.mark.usefixtures("healthy")
def test_a_relay_that_cannot_be_reached_is_named(settings: Settings) -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as listening:
        closed.bind(("127.0.0.1", 0))
        away, there = (f"ws://127.0.0.1:{each.getsockname()[1]}" for each in (closed, listening))
        settings.OUTBOUND_RELAYS = [away, there]
        finding = examine()["relays"]
    assert not finding.is_ok
    assert away in finding.detail
    assert there not in finding.detail


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_DISK", 2**62)
    assert not doctor.disk_space().is_ok


def test_a_health_check_with_a_database_error_becomes_a_finding() -> None:
    def look() -> HealthFinding:
        raise DatabaseError("secret details")

    finding = health.run_safely(look)
    assert finding is not None
    assert not finding.is_ok
    assert "secret" not in finding.detail


def test_sqlite_is_durable_as_the_product_sets_it_up(tmp_path: Path) -> None:
    """The suite's own settings are not: so a process with the product's is asked."""
    look = "from keycast.operations import doctor; print(doctor.database_mode().is_ok)"
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "keycast.settings",
        "KEYCAST_ENVIRONMENT": "development",
        "KEYCAST_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", f"import django; django.setup(); {look}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr[-1000:]
