"""Schedules exist in code alone, and jobs leave a sign that they ran."""

from __future__ import annotations

import re
import sys
import time
from importlib import import_module

import pytest
from django.core.cache import cache
from django_q.models import Schedule

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.operations import jobs
from keycast.operations.models import JobRun
from tests.keycast.audit.conftest import tamper
from tests.paths import ROOT

pytestmark = pytest.mark.django_db

NO_JOBS = (
    *("", ".", "os.mkdir", "os.system", "builtins.eval", "antigravity", "antigravity.fly", "keycast.jobs.os.system"),
    *("keycast.jobs.", "keycast.operations.jobs.call_command", "keycast.operations.jobs.registered", "keycast.jobs"),
    *("keys.services.destroy_due_keys", "keys.jobs.services.destroy_due_keys", " keys.jobs.destroy_due_keys"),
)


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()


def test_a_schedule_that_is_not_in_the_code_is_removed_and_written_down() -> None:
    Schedule.objects.create(name="evil", func="os.system", args="'id'")
    Schedule.objects.create(name=None, func="os.mkdir")
    jobs.register_schedules()
    assert set(Schedule.objects.values_list("name", flat=True)) == {name for name, _, _ in jobs.SCHEDULES}
    runs = JobRun.objects.values_list("path", "outcome", "error")
    assert set(runs) == {("os.system", "failed", "JobNotRegistered"), ("os.mkdir", "failed", "JobNotRegistered")}


@pytest.mark.parametrize("change", [{"func": "os.system"}, {"args": "'id'"}, {"minutes": 9999}, {"hook": "os.system"}])
def test_a_schedule_that_was_changed_is_put_right(change: dict[str, object]) -> None:
    jobs.register_schedules()
    Schedule.objects.filter(name="heartbeat").update(**change)
    jobs.register_schedules()
    row = Schedule.objects.get(name="heartbeat")
    assert (row.func, row.minutes, row.args, row.hook) == ("keycast.operations.jobs.heartbeat", 1, None, None)


def test_registering_again_keeps_the_times() -> None:
    jobs.register_schedules()
    before = list(Schedule.objects.order_by("name").values())
    jobs.register_schedules()
    assert list(Schedule.objects.order_by("name").values()) == before
    assert len(before) == len(jobs.SCHEDULES)


@pytest.mark.parametrize("path", [path for _, path, _ in jobs.SCHEDULES])
def test_every_schedule_leads_to_a_job_that_runs_without_arguments(path: str) -> None:
    module, _, name = path.rpartition(".")
    getattr(import_module(module), name)()


def test_a_heartbeat_is_seen() -> None:
    assert jobs.seconds_since_heartbeat() is None
    jobs.heartbeat()
    assert (jobs.seconds_since_heartbeat() or 0) < 5


def test_a_broken_chain_is_remembered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    record(AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test")))
    assert jobs.verify_audit_log() is True
    record(AuditEntry("platform", AuditTag.KEY_LOCKED, AuditOutcome.OK, Actor.system("test")))
    tamper("UPDATE audit_auditrow SET data = '[]' WHERE sequence = 2")  # since the last look; older rows wait a week
    before = time.time()
    assert jobs.verify_audit_log() is False
    last, after = jobs.last_verification(), time.time()
    assert last is not None
    assert last["intact"] is False
    assert before <= float(str(last["at"])) <= after
    assert "audit_chain_broken" in caplog.text


def test_jobs_queued_under_their_former_paths_still_run() -> None:
    """Queued tasks of an installed database name them by path (until 0.2)."""
    for _, path, _ in jobs.SCHEDULES:
        name = path.rpartition(".")[2]
        if path.startswith("keycast.operations.jobs."):
            assert jobs.registered(f"keycast.jobs.{name}") is getattr(jobs, name)


@pytest.mark.parametrize("path", ["keycast.jobs.carry_endings", "keycast.operations.jobs.carry_endings"])
def test_a_job_that_was_called_otherwise_still_runs_and_its_schedule_alarms_nobody(path: str) -> None:
    assert jobs.registered(path) is jobs.fill_restore_journal
    Schedule.objects.create(name="carry endings", func=path, schedule_type=Schedule.MINUTES, minutes=5, repeats=-1)
    Schedule.objects.create(name="carry", func="os.mkdir", schedule_type=Schedule.MINUTES, minutes=5, repeats=-1)
    jobs.register_schedules()
    assert set(Schedule.objects.values_list("name", flat=True)) == {name for name, _, _ in jobs.SCHEDULES}
    assert list(JobRun.objects.values_list("path", flat=True)) == ["os.mkdir"], "what nobody called so is written down"


@pytest.mark.parametrize("path", NO_JOBS)
def test_what_the_tables_do_not_have_is_no_job_and_is_not_imported(path: str) -> None:
    before = set(sys.modules)
    assert not jobs.is_registered(path)
    with pytest.raises(jobs.JobNotRegistered):
        jobs.registered(path)
    assert set(sys.modules) == before


def test_each_job_with_an_id_is_one_of_its_module() -> None:
    for path in jobs.SINGLE:
        module, _, name = path.rpartition(".")
        assert jobs.registered(path).__module__ == module
        assert jobs.registered(path).__name__ == name


def test_every_job_that_code_queues_is_in_the_tables() -> None:
    queued = set()
    for file in (file for name in ("accounts", "bunker", "keycast", "keys") for file in (ROOT / name).rglob("*.py")):
        queued |= set(re.findall(r"async_task\(\s*\"([\w.]+)\"", file.read_text(encoding="utf-8")))
    assert len(queued) > 4
    assert {path for path in queued if not jobs.is_registered(path)} == set()
