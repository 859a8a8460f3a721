"""Pages about background jobs: what runs, how it went, and running one again."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Task
from django_q.signing import SignedPackage

from accounts.models import StaffRole
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted
from keycast.operations import heartbeats, job_control, jobs
from keycast.operations.models import JobRun, Sign
from tests.keycast.console.conftest import World, signed_in, staff

PAGE = "/admin/jobs/"
RUN = "/admin/jobs/forget-old-requests/run/"
PATH = "keycast.operations.jobs.forget_old_requests"


@pytest.fixture(autouse=True)
def running_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PROCESS_STARTED", time.time() - 3600)


def job_run(number: int, path: str = PATH, outcome: str = "ok", **options: Any) -> JobRun:
    started = timezone.now() - timedelta(minutes=number)
    options.setdefault("ended_at", None if outcome == "running" else started + timedelta(seconds=2))
    return JobRun.objects.create(id=f"{number:032}", path=path, started_at=started, outcome=outcome, **options)


def test_only_a_job_of_the_table_can_be_run(operator_client: Client, operator: Any) -> None:
    for slug in ("os-system", "keys-jobs-tell-cosigner", "x"):
        assert operator_client.post(f"/admin/jobs/{slug}/run/", {"reason": "x"}).status_code == 404
        with pytest.raises(NotFound):
            job_control.run_now(actor=Actor.staff(operator), slug=slug, reason="x")
    assert not OrmQ.objects.exists()


def test_who_may_not_run_a_job(world: World) -> None:
    auditor = staff("auditor@platform.test", role=StaffRole.AUDITOR)
    client = signed_in(auditor)
    assert client.get(PAGE).status_code == 200
    assert b"/run/" not in client.get(PAGE).content
    assert client.post(RUN, {"reason": "x"}).status_code == 403
    with pytest.raises(NotPermitted):
        job_control.run_now(actor=Actor.staff(auditor), slug="heartbeat", reason="x")
    assert not OrmQ.objects.exists()


def test_looking_or_giving_no_reason_runs_nothing(operator_client: Client) -> None:
    assert "Drop requests" in operator_client.get(RUN).content.decode()
    assert operator_client.post(RUN, {"reason": " "}).status_code == 200
    assert not OrmQ.objects.exists()


def test_a_long_queue_takes_no_more(operator_client: Client) -> None:
    now = timezone.now()
    OrmQ.objects.bulk_create([OrmQ(key="keycast", payload="x", lock=now) for _ in range(job_control.LONGEST_QUEUE)])
    page = operator_client.post(RUN, {"reason": "x"}, follow=True).content.decode()
    assert "Many jobs wait already" in page
    assert OrmQ.objects.count() == job_control.LONGEST_QUEUE


def test_running_a_job_puts_it_into_the_queue_and_says_who_and_why(operator_client: Client, operator: Any) -> None:
    page = operator_client.post(RUN, {"reason": "cause is gone"}, follow=True).content.decode()
    assert "Put into the queue: forget old requests" in page
    task = SignedPackage.loads(OrmQ.objects.get().payload)
    assert (str(task["func"]), task["args"], task["kwargs"]) == (PATH, (), {})
    row = AuditRow.objects.get(tag=AuditTag.JOB_RUN)
    assert row.actor_id == operator.id.hex
    assert "cause is gone" in row.data


def test_before_the_cluster_ever_ran_the_page_says_so(operator_client: Client) -> None:
    page = operator_client.get(PAGE).content.decode()
    assert "No job has run on this database yet." in page
    assert page.count("not planned yet") == len(jobs.SCHEDULES)
    assert "None yet." in page


def test_every_job_says_in_words_what_it_does_and_how_often(operator_client: Client) -> None:
    jobs.register_schedules()
    found = job_control.schedules()
    assert [job.name for job in found] == [name for name, _, _ in jobs.SCHEDULES]
    assert len({job.slug for job in found}) == len(found)
    for job in found:
        assert len(job.what) > 15, job.name
        assert job.every.startswith("every ")
        assert job.next_run is not None


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(1, "every minute"), (5, "every 5 minutes"), (60, "every hour"), (90, "every 90 minutes"), (1440, "every day")],
)
def test_how_often_in_words(minutes: int, words: str) -> None:
    assert job_control.every(minutes) == words


def test_the_last_run_and_an_overdue_one_are_shown(operator_client: Client) -> None:
    jobs.register_schedules()
    Schedule.objects.filter(func=PATH).update(next_run=timezone.now() - timedelta(hours=1))
    job_run(50)
    job_run(5, outcome="failed", error="KekUnavailable", message="No key <b>here</b>.")
    found = next(job for job in job_control.schedules() if job.slug == "forget-old-requests")
    assert found.is_overdue
    assert found.last is not None
    assert found.last.outcome == "Failed"
    page = operator_client.get(PAGE).content.decode()
    assert "KekUnavailable" in page
    assert "No key &lt;b&gt;here&lt;/b&gt;." in page
    assert "overdue" in page


def test_a_run_that_never_ended_broke_off(operator_client: Client) -> None:
    job_run(1, outcome="running")
    job_run(60, outcome="running")
    assert [run.outcome for run in job_control.newest_runs()] == ["Running", "Broken off"]


def test_only_failures_are_shown_on_request_with_a_way_to_repeat_them(operator_client: Client) -> None:
    job_run(1)
    job_run(2, outcome="failed", error="X")
    job_run(3, path="keys.jobs.tell_cosigner", outcome="failed", error="Y")
    page = operator_client.get(PAGE, {"show": "failed"}).content.decode()
    assert page.count("Run again") == 1
    assert "Tell cosigner" in page
    assert "by itself" in page


def test_what_the_cluster_pickled_is_never_read(operator_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    Task.objects.create(
        id="a" * 32, name="x", func=PATH, started=timezone.now(), stopped=timezone.now(), success=False, result="boom"
    )
    OrmQ.objects.create(key="keycast", payload="evil", lock=timezone.now())

    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("a pickle was read")

    monkeypatch.setattr("picklefield.fields.dbsafe_decode", never)
    monkeypatch.setattr(SignedPackage, "loads", never)
    for address in (PAGE, f"{PAGE}?show=failed", "/admin/live/"):
        assert operator_client.get(address).status_code == 200


def test_the_queue_says_how_long_the_first_waits(operator_client: Client) -> None:
    heartbeats.record_heartbeat(heartbeats.JOBS)
    Sign.objects.update(at=0)
    OrmQ.objects.create(key="keycast", payload="x", lock=timezone.now() - timedelta(minutes=30))
    OrmQ.objects.create(key="keycast", payload="x", lock=timezone.now() + timedelta(minutes=5))
    page = operator_client.get(PAGE).content.decode()
    assert "the first for 30 minutes" in page
    assert "no sign of life" in page
    assert job_control.state_of_queue()["running"] == 1


def test_queries_and_rows_are_bounded(operator_client: Client, django_assert_max_num_queries: Any) -> None:
    jobs.register_schedules()
    for number in range(job_control.RUNS_SHOWN + 20):
        job_run(number)
    with django_assert_max_num_queries(25):
        page = operator_client.get(PAGE).content.decode()
    assert page.count("Forget old requests") == job_control.RUNS_SHOWN + 1
