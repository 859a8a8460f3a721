"""A job cluster that stalls is noticed from outside; staff hear of it once, and once when it is over."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core import mail
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from accounts.models import StaffRole, User
from keycast.base import metrics
from keycast.base.child_processes import run_command
from keycast.operations import health, heartbeats, incidents, jobs, watchdog
from keycast.operations.health import Finding, Severity, processes
from keycast.operations.models import Incident, JobRun, Sign
from tests.keycast.console.conftest import staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "PATIENCE", timedelta(0))


@pytest.fixture
def people() -> list[User]:
    return [
        staff("operator@platform.test", role=StaffRole.OPERATOR),
        staff("officer@platform.test", role=StaffRole.SECURITY_OFFICER),
        staff("auditor@platform.test", role=StaffRole.AUDITOR),
        User.objects.create_user("member@news.test", "correct horse battery"),
    ]


def silent_for(seconds: float) -> None:
    heartbeats.leave(heartbeats.JOBS)
    Sign.objects.filter(name=heartbeats.JOBS).update(at=int((time.time() - seconds) * 1000))


def finding(name: str = "jobs", *, is_ok: bool = False, tells: bool = True) -> Finding:
    return Finding(name, is_ok, "Silent.", "Start it.", Severity.WARNING, "", tells)


# --- the finding ---


def test_a_cluster_that_never_ran_or_is_silent_is_a_finding(settings: Settings) -> None:
    assert not processes.jobs().is_ok
    silent_for(settings.JOBS_SILENT_SECONDS + 5)
    assert not processes.jobs().is_ok
    assert "old" in processes.jobs().detail


def test_a_job_at_work_for_as_long_as_it_may_is_no_finding(settings: Settings) -> None:
    silent_for(settings.Q_CLUSTER["timeout"])
    assert processes.jobs().is_ok


def test_silent_jobs_are_told_by_readiness_but_take_no_process_out(client: Any) -> None:
    answer = client.get("/readyz").json()
    assert answer["checks"]["jobs"]["ok"] is False
    report = health.Report((finding(), Finding("database", True, "")))
    assert report.is_ready


def test_a_job_that_failed_is_a_finding_until_it_goes_well() -> None:
    now = timezone.now()
    JobRun.objects.create(id="1", path="x.prune_it", started_at=now - timedelta(minutes=5), outcome="failed")
    found = processes.failed_jobs()
    assert found is not None
    assert "prune it" in found.detail
    JobRun.objects.create(id="2", path="x.prune_it", started_at=now, outcome="ok")
    assert processes.failed_jobs() is None


# --- telling ---


def test_what_is_not_to_be_told_is_not(people: list[User]) -> None:
    for _ in range(3):
        incidents.follow([finding(tells=False), finding("database", is_ok=True)])
    assert not mail.outbox
    assert not Incident.objects.exists()


def test_a_short_trouble_is_written_down_and_told_nobody(people: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "PATIENCE", timedelta(minutes=2))
    incidents.follow([finding()])
    incidents.follow([finding()])
    incidents.follow([finding(is_ok=True)])
    incidents.follow([finding(is_ok=True)])
    assert not mail.outbox
    assert Incident.objects.get().ended_at is not None


def test_those_who_operate_are_told_once_and_once_when_it_is_over(people: list[User]) -> None:
    for _ in range(4):
        incidents.follow([finding()])
    assert sorted(message.to[0] for message in mail.outbox) == ["officer@platform.test", "operator@platform.test"]
    assert all(len(message.to) == 1 and not message.cc and not message.bcc for message in mail.outbox)
    assert "Start it." in str(mail.outbox[0].body)
    mail.outbox.clear()
    for _ in range(3):
        incidents.follow([finding(is_ok=True)])
    assert [message.subject for message in mail.outbox] == ["[Keycast] Keycast is in order again: jobs"] * 2
    mail.outbox.clear()
    incidents.follow([finding()])
    incidents.follow([finding()])
    assert len(mail.outbox) == 2  # a second incident


def test_a_finding_that_is_gone_altogether_is_over(people: list[User]) -> None:
    incidents.follow([finding("services")])
    incidents.follow([])
    assert Incident.objects.get().ended_at is not None


def test_mail_that_fails_is_sent_with_the_next_look(people: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise SMTPException

    with monkeypatch.context() as broken:
        broken.setattr(incidents, "_send", refuse)
        for _ in range(2):
            incidents.follow([finding()])
        assert Incident.objects.get().told_at is None
    incidents.follow([finding()])
    assert len(mail.outbox) == 2


def test_another_process_that_told_already_is_enough(people: list[User]) -> None:
    incidents.follow([finding()])
    stale = Incident.objects.get()
    Incident.objects.update(told_at=timezone.now())
    incidents._tell_beginning(stale, finding())
    assert not mail.outbox


# --- looking around ---


def sample(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_one_look_counts_opens_incidents_and_leaves_a_sign(settings: Settings) -> None:
    silent_for(settings.JOBS_SILENT_SECONDS + 60)
    watchdog.look_around()
    assert sample("keycast_finding_ok", finding="jobs") == 0
    assert sample("keycast_finding_ok", finding="database") == 1
    assert (sample("keycast_jobs_silent_seconds") or 0) > settings.JOBS_SILENT_SECONDS
    assert Incident.objects.filter(name="jobs", ended_at=None).exists()
    assert Sign.objects.get(name__startswith="web:").status["relay_clients"] == 0
    jobs.heartbeat()
    watchdog.look_around()
    assert sample("keycast_finding_ok", finding="jobs") == 1
    assert not Incident.objects.filter(name="jobs", ended_at=None).exists()


def test_beside_a_worker_it_says_nothing_of_a_web(db: None) -> None:
    watchdog.look_around(is_web=False)
    assert not Sign.objects.filter(name__startswith="web:").exists()


@pytest.mark.django_db(transaction=True)
async def test_a_blind_watchdog_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.01)
    stop, seen = asyncio.Event(), []

    def look(**options: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            stop.set()
        raise OperationalError("gone")

    monkeypatch.setattr(watchdog, "look_around", look)
    await asyncio.wait_for(watchdog.watch(stop), 20)
    assert len(seen) == 3


# --- a cluster that hangs, in the embedded shape ---


@pytest.mark.django_db(transaction=True)
async def test_a_cluster_that_gives_signs_is_left_alone(settings: Settings) -> None:
    settings.JOBS_SILENT_SECONDS = 1
    stop = asyncio.Event()
    waiting = asyncio.create_task(watchdog.wait_for_silence(stop))
    await sync_to_async(silent_for)(-3600)  # as fresh as can be, however slow this machine
    await asyncio.sleep(2)
    assert not waiting.done()
    stop.set()
    await asyncio.wait_for(waiting, 10)


@pytest.mark.django_db(transaction=True)
async def test_a_silent_cluster_is_noticed_and_its_process_ended(settings: Settings) -> None:
    settings.JOBS_SILENT_SECONDS = 1
    await sync_to_async(silent_for)(3600)
    stop = asyncio.Event()
    with pytest.raises(watchdog.ClusterSilent):
        await asyncio.wait_for(run_command(stop, "shell", "-c", "import time; time.sleep(600)", watch=end_at_once), 60)


async def end_at_once(stop: asyncio.Event) -> None:
    await watchdog.wait_for_silence(stop)
