"""Each run of a job is written down: how it ended, and of an error no more than may be shown."""

from __future__ import annotations

import traceback
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.utils import timezone
from django_q.models import Task
from django_q.signals import post_execute_in_worker, pre_execute

from keycast.base.errors import KeycastError, Unavailable
from keycast.operations import heartbeats, job_records
from keycast.operations.job_records import what_failed
from keycast.operations.models import Incident, JobRun, Sign

pytestmark = pytest.mark.django_db


def text_of(error: Exception) -> str:
    """What django-q2 makes of an error."""
    try:
        raise error
    except Exception as raised:
        return f"{raised} : {traceback.format_exc()}"


def job(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a" * 32,
        "name": "x",
        "func": "keycast.operations.jobs.heartbeat",
        "args": (),
        "kwargs": {},
        **changes,
    }


@pytest.mark.parametrize("result", ["", "nonsense", " : Traceback (most recent call last):\n", "a : b : c\n<b>"])
def test_a_text_that_cannot_be_read_says_nothing(result: str) -> None:
    assert what_failed(result) == ("Error", "")


def test_the_text_of_a_strange_error_stays_inside() -> None:
    assert what_failed(text_of(ValueError("nsec1secret"))) == ("ValueError", "")
    assert what_failed(text_of(OperationalError("password=hunter2"))) == ("OperationalError", "")


def test_an_error_of_ours_has_a_sentence_for_the_public() -> None:
    assert what_failed(text_of(Unavailable())) == ("Unavailable", Unavailable.public_message)
    assert what_failed(text_of(KeycastError("It is Monday."))) == ("KeycastError", "It is Monday.")


def test_a_class_that_only_pretends_to_be_ours_says_nothing() -> None:
    text = "nsec1secret : Traceback (most recent call last):\n  File x\nkeycast.errors.Pretender: nsec1secret"
    assert what_failed(text) == ("Pretender", "")


def test_a_run_is_seen_from_its_beginning_to_its_end() -> None:
    pre_execute.send(sender="django_q", func=None, task=job())
    assert JobRun.objects.get().outcome == "running"
    post_execute_in_worker.send(sender="django_q", func=None, task=job(success=True, result=3))
    run = JobRun.objects.get()
    assert (run.outcome, run.error, run.path) == ("ok", "", "keycast.operations.jobs.heartbeat")
    assert run.ended_at is not None
    assert (heartbeats.seconds_since_heartbeat(heartbeats.JOBS) or 0) < 5


def test_a_failure_is_kept_without_its_text() -> None:
    pre_execute.send(sender="django_q", func=None, task=job())
    failed = job(success=False, result=text_of(ValueError("nsec1secret")))
    post_execute_in_worker.send(sender="django_q", func=None, task=failed)
    run = JobRun.objects.get()
    assert (run.outcome, run.error, run.message) == ("failed", "ValueError", "")


def test_a_second_attempt_of_the_same_task_is_the_same_run() -> None:
    pre_execute.send(sender="django_q", func=None, task=job())
    post_execute_in_worker.send(sender="django_q", func=None, task=job(success=False, result="x"))
    pre_execute.send(sender="django_q", func=None, task=job())
    run = JobRun.objects.get()
    assert (run.outcome, run.error, run.ended_at) == ("running", "", None)


def test_a_database_that_is_away_stops_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(heartbeats, "record_heartbeat", away)
    pre_execute.send(sender="django_q", func=None, task=job())
    post_execute_in_worker.send(sender="django_q", func=None, task=job(success=True, result=3))


def test_what_is_old_is_forgotten_failures_later(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    now = timezone.now()
    for days in (1, 5, 40):
        for outcome in ("ok", "failed"):
            JobRun.objects.create(
                id=f"{outcome}{days}", path="x", started_at=now - timedelta(days=days), outcome=outcome
            )
        Task.objects.create(
            id=f"t{days}", name="x", func="x", started=now, stopped=now - timedelta(days=days), success=False
        )
    Incident.objects.create(name="jobs", began_at=now - timedelta(days=400), ended_at=now - timedelta(days=399))
    Sign.objects.create(name="web:gone:1", at=0)
    Sign.objects.create(name="jobs", at=0)

    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("a pickle was read")

    monkeypatch.setattr("picklefield.fields.dbsafe_decode", never)
    job_records.forget()
    assert set(JobRun.objects.values_list("pk", flat=True)) == {"ok1", "failed1", "failed5"}
    assert set(Task.objects.values_list("pk", flat=True)) == {"t1", "t5"}
    assert not Incident.objects.exists()
    assert list(Sign.objects.values_list("name", flat=True)) == ["jobs"]
