"""A job cluster that stalls is noticed from outside; staff hear of it once, and once when it is over."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core import mail
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from accounts.mail.letters import Letter
from accounts.mail.transport import MailNotSent, send_now
from accounts.models import StaffRole, User
from bunker.models import WorkerSeat
from keycast.base import metrics
from keycast.base.child_processes import run_command
from keycast.operations import health, heartbeats, incidents, jobs, watchdog
from keycast.operations.health import HealthFinding, Severity, processes
from keycast.operations.models import Incident, JobRun, Sign
from tests.keycast.console.conftest import staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "BEFORE_NOTIFYING", timedelta(0))
    monkeypatch.setattr(incidents, "PAUSE", timedelta(0))


@pytest.fixture
def people() -> list[User]:
    return [
        staff("operator@platform.test", role=StaffRole.OPERATOR),
        staff("officer@platform.test", role=StaffRole.SECURITY_OFFICER),
        staff("auditor@platform.test", role=StaffRole.AUDITOR),
        User.objects.create_user("member@news.test", "correct horse battery"),
    ]


def silent_for(seconds: float) -> None:
    heartbeats.record_heartbeat(heartbeats.JOBS)
    Sign.objects.filter(name=heartbeats.JOBS).update(at=int((time.time() - seconds) * 1000))


def finding(name: str = "jobs", *, is_ok: bool = False, tells: bool = True) -> HealthFinding:
    return HealthFinding(name, is_ok, "Silent.", "Start it.", Severity.WARNING, "", tells)


def follow(findings: list[HealthFinding]) -> None:
    """What comes of one look."""
    incidents.update_incidents(findings)
    incidents.tell(findings)


# --- the finding ---


@pytest.fixture(autouse=True)
def running_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PROCESS_STARTED", time.time() - 3600)


def test_what_cannot_be_known_so_soon_after_the_start_is_no_finding(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "PROCESS_STARTED", time.time())
    assert processes.jobs().is_ok
    silent_for(8 * 3600)
    assert processes.jobs().is_ok
    started = timezone.now() - timedelta(seconds=settings.JOBS_SILENT_SECONDS + 60)
    seat = WorkerSeat.objects.create(id="w", host="h", pid=1, started_at=started, seen_at=time.time_ns() // 1_000_000)
    assert not processes.jobs().is_ok
    seat.seen_at -= 60_000
    seat.save()
    assert processes.jobs().is_ok


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
    report = health.HealthReport((finding(), HealthFinding("database", True, "")))
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


def test_a_finding_without_notification_opens_no_incident(people: list[User]) -> None:
    for _ in range(3):
        follow([finding(tells=False), finding("database", is_ok=True)])
    assert not mail.outbox
    assert not Incident.objects.exists()


def test_a_short_trouble_is_written_down_and_told_nobody(people: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "BEFORE_NOTIFYING", timedelta(minutes=2))
    follow([finding()])
    follow([finding()])
    follow([finding(is_ok=True)])
    follow([finding(is_ok=True)])
    assert not mail.outbox
    assert Incident.objects.get().ended_at is not None


def test_those_who_operate_are_told_once_and_once_when_it_is_over(people: list[User]) -> None:
    for _ in range(4):
        follow([finding()])
    assert sorted(message.to[0] for message in mail.outbox) == ["officer@platform.test", "operator@platform.test"]
    assert all(len(message.to) == 1 and not message.cc and not message.bcc for message in mail.outbox)
    assert "Start it." in str(mail.outbox[0].body)
    mail.outbox.clear()
    for _ in range(3):
        follow([finding(is_ok=True)])
    assert [message.subject for message in mail.outbox] == ["[Keycast] Keycast is in order again: jobs"] * 2
    mail.outbox.clear()
    follow([finding()])
    follow([finding()])
    assert len(mail.outbox) == 2  # a second incident


def test_a_finding_that_is_gone_altogether_is_over(people: list[User]) -> None:
    follow([finding("services")])
    follow([])
    assert Incident.objects.get().ended_at is not None


def test_mail_that_fails_is_sent_with_the_next_look(people: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise MailNotSent(is_away=True, error="SMTPServerDisconnected")

    with monkeypatch.context() as broken:
        broken.setattr(incidents, "send_now", refuse)
        for _ in range(2):
            follow([finding()])
        assert Incident.objects.get().told_at is None
    follow([finding()])
    assert len(mail.outbox) == 2


def test_a_server_that_is_away_is_asked_once_each_time(people: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(letter: Letter) -> None:
        asked.append(letter.to)
        raise MailNotSent(is_away=True, error="TimeoutError")

    monkeypatch.setattr(incidents, "send_now", refuse)
    follow([finding()])
    assert asked == ["officer@platform.test"]
    monkeypatch.setattr(incidents, "PAUSE", timedelta(minutes=1))
    follow([finding()])
    follow([finding()])
    assert len(asked) == 2  # then it waits


def test_whom_the_server_refuses_is_left_to_the_outbox_and_nobody_is_told_twice(
    people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(letter: Letter) -> None:
        if letter.to.startswith("officer"):
            raise MailNotSent(is_away=False, error="SMTPRecipientsRefused")
        send_now(letter)

    monkeypatch.setattr(incidents, "send_now", refuse)
    monkeypatch.setattr(incidents, "send_later", lambda **letter: later.append(letter["to"]))
    later: list[str] = []
    for _ in range(3):
        follow([finding()])
    assert [message.to for message in mail.outbox] == [["operator@platform.test"]]
    assert later == ["officer@platform.test"]
    assert Incident.objects.get().told_at is not None


def test_what_a_process_that_ended_was_about_to_tell_is_told_by_another(people: list[User]) -> None:
    incidents.update_incidents([finding()])
    incident = Incident.objects.get()
    assert incidents._claim(incident, "told_at")
    follow([finding()])
    assert not mail.outbox
    Incident.objects.update(telling_until=timezone.now())
    follow([finding()])
    assert len(mail.outbox) == 2


def test_another_process_that_told_already_is_enough(people: list[User]) -> None:
    incidents.update_incidents([finding()])
    stale = Incident.objects.get()
    Incident.objects.update(told_at=timezone.now())
    incidents._tell_beginning(stale, finding())
    assert not mail.outbox


# --- looking around ---


def sample(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_one_look_counts_opens_incidents_and_leaves_a_sign(settings: Settings) -> None:
    silent_for(settings.JOBS_SILENT_SECONDS + 60)
    watchdog.check_once()
    assert sample("keycast_finding_ok", finding="jobs") == 0
    assert sample("keycast_finding_ok", finding="database") == 1
    assert (sample("keycast_jobs_silent_seconds") or 0) > settings.JOBS_SILENT_SECONDS
    assert Incident.objects.filter(name="jobs", ended_at=None).exists()
    assert Sign.objects.get(name__startswith="web:").status["relay_clients"] == 0
    jobs.heartbeat()
    watchdog.check_once()
    assert sample("keycast_finding_ok", finding="jobs") == 1
    assert not Incident.objects.filter(name="jobs", ended_at=None).exists()


def test_the_watchdog_of_a_worker_records_no_web_heartbeat(db: None) -> None:
    watchdog.check_once(is_web=False)
    assert not Sign.objects.filter(name__startswith="web:").exists()


@pytest.mark.django_db(transaction=True)
async def test_a_blind_watchdog_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CHECK_SECONDS", 0.01)
    stop, seen = asyncio.Event(), []

    def look(**options: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            stop.set()
        raise OperationalError("gone")

    monkeypatch.setattr(watchdog, "check_once", look)
    await asyncio.wait_for(watchdog.watch(stop), 20)
    assert len(seen) == 3


@pytest.mark.django_db(transaction=True)
async def test_a_mail_server_that_says_nothing_stops_no_look(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "CHECK_SECONDS", 0.01)
    await sync_to_async(staff)("operator@platform.test", role=StaffRole.OPERATOR)
    await sync_to_async(silent_for)(settings.JOBS_SILENT_SECONDS + 60)
    stop, looks, look_around = asyncio.Event(), [], watchdog.check_once

    def look(**options: Any) -> health.HealthReport:
        looks.append(1)
        if len(looks) == 5:
            stop.set()
        return look_around(**options)

    monkeypatch.setattr(watchdog, "check_once", look)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = listening.getsockname()
        settings.EMAIL_TIMEOUT = 60.0
        await asyncio.wait_for(watchdog.watch(stop), 30)
        listening.settimeout(20)
        asked, _ = await asyncio.to_thread(listening.accept)
        asked.close()  # its thread hears the end now
    incident = await Incident.objects.aget(name="jobs")
    assert len(looks) == 5
    assert incident.told_at is None


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
    with pytest.raises(watchdog.JobClusterSilent):
        await asyncio.wait_for(run_command(stop, "shell", "-c", "import time; time.sleep(600)", watch=end_at_once), 60)


async def end_at_once(stop: asyncio.Event) -> None:
    await watchdog.wait_for_silence(stop)
