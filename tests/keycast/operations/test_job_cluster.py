"""What the job cluster asks us: which jobs are due, and what becomes of one that failed."""

from __future__ import annotations

import base64
import pickle
import zlib
from datetime import UTC, datetime, timedelta
from multiprocessing import Queue, Value
from pathlib import Path
from typing import Any

import pytest
from django.core import signing
from django.db import OperationalError
from django.utils import timezone
from django_q import cluster, monitor
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule, Task
from django_q.signing import SignedPackage
from django_q.worker import worker

from keycast.operations import former_queue, job_cluster, job_packages, jobs
from keycast.operations.job_broker import UNREADABLE, JobBroker
from keycast.operations.models import JobRun
from tests.security import hostile_rows

pytestmark = pytest.mark.django_db
PATH = "keycast.operations.jobs.forget_old_runs"
NAME = "forget old runs of jobs"


@pytest.fixture(autouse=True)
def one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's transaction lives in the connection that a cluster's process would open anew."""
    monkeypatch.setattr(job_cluster, "close_old_connections", lambda: None)


def queued() -> list[str]:
    return [str(SignedPackage.loads(text)["func"]) for text in OrmQ.objects.values_list("payload", flat=True)]


def run(path: str, *args: str) -> dict[str, Any]:
    """One job through django-q2's own worker, in this process."""
    task = SignedPackage.loads(SignedPackage.dumps(job_packages.new_task(path, *args, started=timezone.now())))
    tasks, results = Queue(), Queue()
    tasks.put({**task, "ack_id": 1, "sync": True})
    tasks.put("STOP")
    try:
        worker(tasks, results, Value("f", -1), timeout=-1)
    except jobs.JobNotRegistered:
        return {**task, "ack_id": 1, "success": False}
    done: dict[str, Any] = results.get()
    return done


def test_hostile_rows_are_refused_and_the_due_jobs_are_queued_all_the_same(tmp_path: Path) -> None:
    jobs.register_schedules()
    hostile_rows.plant_schedules(tmp_path)
    job_cluster.queue_due_jobs(get_broker())
    assert sorted(queued()) == sorted(path for _, path, _ in jobs.SCHEDULES)
    assert list(tmp_path.iterdir()) == []
    assert Schedule.objects.count() == len(jobs.SCHEDULES)
    refused = JobRun.objects.filter(error="JobNotRegistered")
    assert set(refused.values_list("path", flat=True)) == {"os.mkdir", "keycast.operations.jobs.heartbeat"}


def test_a_row_gives_its_time_and_nothing_else() -> None:
    jobs.register_schedules()
    Schedule.objects.update(next_run=timezone.now() + timedelta(hours=1))
    Schedule.objects.filter(name=NAME).update(next_run=timezone.now() - timedelta(hours=5))
    job_cluster.queue_due_jobs(get_broker())
    assert queued() == [PATH]
    late = Schedule.objects.get(name=NAME).next_run - timezone.now()
    assert timedelta(minutes=59) < late < timedelta(minutes=60)
    job_cluster.queue_due_jobs(get_broker())
    assert queued() == [PATH]


def test_a_database_that_is_away_ends_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(jobs, "register_schedules", away)
    job_cluster.queue_due_jobs(get_broker())
    assert queued() == []


def test_the_worker_refuses_what_is_no_job_and_writes_it_down(tmp_path: Path) -> None:
    run("os.mkdir", str(tmp_path / "mark"))
    assert list(tmp_path.iterdir()) == []
    row = JobRun.objects.get()
    assert (row.path, row.outcome) == ("os.mkdir", "failed")


def test_the_worker_runs_a_job() -> None:
    assert run(PATH)["success"]
    row = JobRun.objects.get()
    assert (row.path, row.outcome, row.attempts) == (PATH, "ok", 1)


def test_a_failed_job_is_tried_three_times_and_one_that_is_no_job_once() -> None:
    for path, attempts, left in ((PATH, 1, True), (PATH, 2, True), (PATH, 3, False), ("os.mkdir", 1, False)):
        row = OrmQ.objects.create(key="keycast-jobs", payload="x", lock=timezone.now())
        task = job_packages.new_task(path, started=timezone.now())
        JobRun.objects.create(id=task["id"], path=path, started_at=timezone.now(), attempts=attempts)
        job_cluster.settle({**task, "success": False, "ack_id": row.pk}, get_broker())
        assert OrmQ.objects.filter(pk=row.pk).exists() is left, (path, attempts)


def test_nothing_of_a_run_is_kept_by_django_q(monkeypatch: pytest.MonkeyPatch) -> None:
    job_cluster.settle({"id": "a" * 32, "func": PATH, "success": True, "ack_id": 1}, get_broker())
    job_cluster.settle({"id": "a" * 32, "func": PATH, "success": False}, get_broker())
    assert not Task.objects.exists()


def test_the_cluster_asks_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "scheduler", None)
    monkeypatch.setattr(monitor, "save_task", None)
    job_cluster.install()
    assert cluster.scheduler is job_cluster.queue_due_jobs
    assert monitor.save_task is job_cluster.settle
    assert type(get_broker()) is JobBroker
    assert get_broker().cache is None


def test_a_row_that_nobody_signed_is_removed_and_written_down() -> None:
    row = OrmQ.objects.create(key="keycast-jobs", payload="x", lock=timezone.now())
    get_broker().fail(row.pk)
    assert not OrmQ.objects.exists()
    assert list(JobRun.objects.values_list("path", "error")) == [(UNREADABLE, "JobNotRegistered")]


def former(value: Any, salt: str = "keycast", compress: bool = False) -> None:
    """A row as version 0.1 queued it."""
    data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    text = "." + signing.b64_encode(zlib.compress(data)).decode() if compress else signing.b64_encode(data).decode()
    payload = signing.TimestampSigner(salt=salt).sign(text)
    OrmQ.objects.create(key="keycast", payload=payload, lock=timezone.now())


def test_no_pickle_of_the_last_version_runs_even_with_its_signature(tmp_path: Path) -> None:
    good = {"id": "a" * 32, "name": "x", "func": PATH, "args": (), "kwargs": {}, "started": datetime.now(UTC)}
    former(good, salt="another")
    former(hostile_rows.pickled(tmp_path, "signed"))
    former({**good, "args": (hostile_rows.Mark(tmp_path / "argument"),)})
    former({**good, "kwargs": {"x": 1}})
    former({**good, "func": print})
    former(["no task"])
    for damage in (b"", b"\x80\x05", b"cos\nsystem\n.", b"I99999999999999999999\n.", b"((((", b"\x80\x05K\x01."):
        former(damage)
    OrmQ.objects.create(key="keycast", payload=base64.b64encode(b"x").decode(), lock=timezone.now())
    assert former_queue.carry_over() == 0
    assert not OrmQ.objects.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
def test_what_the_last_version_queued_goes_on(compress: bool) -> None:
    started = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
    task = {"id": "a" * 32, "name": "x", "func": "keycast.jobs.forget_old_runs", "args": (), "kwargs": {}}
    former({**task, "started": started, "group": "x", "cluster": None}, compress=compress)
    former({**task, "func": "keys.jobs.tell_cosigner", "args": ("b" * 32,), "started": started})
    assert former_queue.carry_over() == 2
    first, second = (
        SignedPackage.loads(text) for text in OrmQ.objects.order_by("pk").values_list("payload", flat=True)
    )
    assert (first["id"], first["started"]) == ("a" * 32, started)
    assert jobs.is_registered(str(first["func"]))
    assert (str(second["func"]), second["args"]) == ("keys.jobs.tell_cosigner", ("b" * 32,))
    assert set(OrmQ.objects.values_list("key", flat=True)) == {"keycast-jobs"}
    assert former_queue.carry_over() == 0
