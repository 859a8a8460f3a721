"""Mails on their way: nobody waits for a mail server, none is lost, nothing of them can be read where they wait."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator
from datetime import timedelta
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail as django_mail
from django.core.cache import cache
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, transaction
from django.test import Client, TestCase
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.signing import SignedPackage
from pytest_django import Settings

from accounts.mail import health, jobs, letters, outbox, send_later, transport
from accounts.models import OutgoingMail, Tenant, User
from accounts.models.mail import MailProblem
from accounts.sealing import SealBroken
from keycast.operations import jobs as all_jobs
from tests.paths import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.mails_wait]
TO, TEXT = "dora@example.org", "Your code is QX7-KF2."


def write(to: str = TO, **more: Any) -> OutgoingMail:
    with TestCase.captureOnCommitCallbacks(execute=True):
        send_later(to=to, subject="A code", text=TEXT, **more)
    return OutgoingMail.objects.latest("created_at")


def fresh(row: OutgoingMail) -> OutgoingMail:
    return OutgoingMail.objects.get(pk=row.pk)


def make_due(**more: Any) -> None:
    OutgoingMail.objects.update(next_try_at=timezone.now(), tried_at=timezone.now() - timedelta(hours=1), **more)


class Stubborn:
    """A backend that has something against each mail, for as long as ``error`` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = SMTPServerDisconnected("gone")
        self.asked = 0
        send = EmailBackend.send_messages

        def send_messages(backend: EmailBackend, messages: Any) -> Any:
            self.asked += 1
            if self.error is not None:
                raise self.error
            return send(backend, messages)

        monkeypatch.setattr(EmailBackend, "send_messages", send_messages)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Stubborn:
    return Stubborn(monkeypatch)


# --- what is kept ---


def test_nothing_of_a_mail_can_be_read_in_its_row_or_in_the_queue() -> None:
    row = write(html=f"<p>{TEXT}</p>")
    kept = "".join(str(value) for value in OutgoingMail.objects.filter(pk=row.pk).values_list()[0])
    task = SignedPackage.loads(OrmQ.objects.get().payload)
    assert (str(task["func"]), task["args"], task["kwargs"]) == (outbox.JOB, (row.id.hex,), {})
    for secret in (TO, "dora", TEXT, "QX7", "A code"):
        assert secret not in kept
        assert secret not in OrmQ.objects.get().payload
        assert secret not in repr(task)


def test_a_sealed_letter_opens_in_its_own_row_alone() -> None:
    one, other = write(), write()
    with pytest.raises(SealBroken):
        letters.open_letter(one.sealed, other.id.hex)
    assert letters.open_letter(one.sealed, one.id.hex).text == TEXT
    assert TEXT not in repr(letters.open_letter(one.sealed, one.id.hex))


def test_a_mail_of_a_transaction_that_fails_does_not_exist() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        send_later(to=TO, subject="A code", text=TEXT)
        raise RuntimeError
    assert not OutgoingMail.objects.exists()
    assert not OrmQ.objects.exists()


def test_what_was_sent_is_dropped() -> None:
    row = write(html="<b>it</b>")
    assert jobs.send_mail(row.id.hex)
    (message,) = django_mail.outbox
    assert (message.to, message.subject, message.body) == ([TO], "A code", TEXT)
    assert message.alternatives[0][0] == "<b>it</b>"  # type: ignore[attr-defined]
    row = fresh(row)
    assert row.sent_at
    assert row.sealed == ""
    assert not jobs.send_mail(row.id.hex)
    assert jobs.send_waiting_mails() == 0
    assert len(django_mail.outbox) == 1


# --- what fails ---


def test_a_mail_that_is_refused_is_tried_again_with_growing_pauses(server: Stubborn) -> None:
    server.error = SMTPRecipientsRefused({})
    row, pauses = write(), []
    for _ in range(3):
        make_due()
        assert jobs.send_waiting_mails() == 0
        pauses.append(round((fresh(row).next_try_at - timezone.now()).total_seconds(), -1))
    assert pauses == [30, 60, 120]
    assert (fresh(row).attempts, fresh(row).problem) == (3, MailProblem.REFUSED)
    assert not jobs.send_mail(row.id.hex)  # not before its time
    assert server.asked == 3
    server.error = None
    make_due()
    assert jobs.send_waiting_mails() == 1
    assert fresh(row).sent_at


def test_one_refused_mail_does_not_hold_up_the_others(server: Stubborn) -> None:
    server.error = ValueError("Header values can't contain newlines")
    write()
    write("eve@example.org")
    assert jobs.send_waiting_mails() == 0
    assert server.asked == 2


def test_a_server_that_is_away_is_asked_once_and_not_for_every_mail(server: Stubborn) -> None:
    rows = [write(f"{number}@example.org") for number in range(5)]
    assert jobs.send_waiting_mails() == 0
    assert not any(jobs.send_mail(row.id.hex) for row in rows)
    assert server.asked == 1
    server.error = None
    make_due()
    assert jobs.send_waiting_mails() == 5


def test_a_mail_that_somebody_is_sending_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    row, seen = write(), []
    monkeypatch.setattr(outbox, "send_now", lambda letter: seen.append(jobs.send_mail(row.id.hex)))
    assert jobs.send_mail(row.id.hex)
    assert seen == [False]


def test_after_its_time_a_mail_is_given_up_and_dropped_and_health_says_so(server: Stubborn) -> None:
    assert health.mails() is None
    row, late = write(), timezone.now() - timedelta(minutes=11)
    OutgoingMail.objects.update(created_at=late)
    found = health.mails()
    assert found is not None
    assert "1 wait" in found.detail
    OutgoingMail.objects.update(expires_at=timezone.now())
    assert jobs.send_waiting_mails() == 0
    assert server.asked == 0
    row = fresh(row)
    assert row.given_up_at
    assert row.sealed == ""
    found = health.mails()
    assert found is not None
    assert "1 were given up" in found.detail
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=8))
    jobs.send_waiting_mails()
    assert not OutgoingMail.objects.exists()


def test_a_row_that_does_not_open_is_no_stumbling_block() -> None:
    broken = write()
    OutgoingMail.objects.filter(pk=broken.pk).update(sealed="k1.AAAA")
    write("eve@example.org")
    assert jobs.send_waiting_mails() == 1
    assert fresh(broken).problem == MailProblem.UNREADABLE


def test_mails_are_swept_up_every_minute_without_their_own_jobs() -> None:
    write()
    OrmQ.objects.all().delete()
    all_jobs.register_schedules()
    assert Schedule.objects.get(func="accounts.mail.jobs.send_waiting_mails").minutes == 1
    assert jobs.send_waiting_mails() == 1


# --- a mail server that accepts and says nothing ---


@pytest.fixture
def silent_server(settings: Settings) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = listening.getsockname()
        settings.EMAIL_TIMEOUT = 0.3
        yield listening


def test_a_request_does_not_ask_a_silent_server_and_a_job_gives_it_up(
    silent_server: socket.socket, settings: Settings, news: Tenant, alice: User
) -> None:
    settings.EMAIL_TIMEOUT = 60
    cache.clear()
    with TestCase.captureOnCommitCallbacks(execute=True):
        answer = Client(headers={"host": "news.example"}).post("/account/login/code/", {"email": alice.email})
    assert answer.status_code == 302
    assert not select.select([silent_server], [], [], 0)[0], "the request asked the mail server"
    row = OutgoingMail.objects.get()
    assert outbox.CODE_LIFE.total_seconds() - (row.expires_at - row.created_at).total_seconds() == 0
    assert re.search(r"[A-Z0-9]{3}", letters.open_letter(row.sealed, row.id.hex).text)
    settings.EMAIL_TIMEOUT = 0.3
    assert not jobs.send_mail(row.id.hex)
    assert select.select([silent_server], [], [], 0)[0]
    assert fresh(row).problem == MailProblem.AWAY


def test_a_silent_server_is_away(silent_server: socket.socket) -> None:
    with pytest.raises(transport.MailNotSent) as caught:
        transport.send_now(letters.Letter(TO, "A code", TEXT))
    assert caught.value.is_away


def test_no_transaction_is_open_while_the_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    row, depths = write(), []
    monkeypatch.setattr(outbox, "send_now", lambda letter: depths.append(connection.atomic_blocks[-1]._from_testcase))
    jobs.send_mail(row.id.hex)
    assert depths == [True]


# --- one way out ---


def test_mail_leaves_by_one_module_and_from_the_cosigner_which_has_no_django_by_another() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("keycast", "accounts", "keys", "bunker")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(
            r"django\.core(\.mail| import .*\bmail\b)|^import smtplib\b", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert found == {"accounts/mail/transport.py", "keys/cosigner/alarm_mail.py"}


def test_mail_is_sent_at_once_by_the_watchdog_and_nobody_else() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("keycast", "accounts", "keys", "bunker")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"import .*\bsend_now\b", path.read_text(encoding="utf-8"))
    }
    assert found == {"accounts/mail/outbox.py", "keycast/operations/incidents.py"}
