"""The co-signer's mails: what is alarming is told, once, and no mail server holds the co-signer up."""

from __future__ import annotations

import socket
import threading

import pytest

from keycast.audit.tags import AuditOutcome
from keycast.nostr.nip01 import id_of
from keys.cosigner import alarms as alarms_module
from keys.cosigner import operator_commands as operator
from keys.cosigner.alarm_mail import AlarmMailMisconfiguredError, alarm_mail
from keys.cosigner.alarms import ALARMING, LINES, REFUSALS, WAITING, CosignerAlarms
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.brake_rules import key_scope
from keys.signing.cosigning.errors import StoppedByCosigner
from tests.keys.cosigner.support import Bench, note
from tests.waiting import eventually


class Mails:
    """A mail server that takes all, or none."""

    def __init__(self, refuses=0):
        self.taken, self.refuses, self.asked = [], refuses, 0

    def __call__(self, subject, text):
        self.asked += 1
        if self.asked <= self.refuses:
            raise ConnectionRefusedError
        self.taken.append((subject, text))


def row(tag, key="", **data):
    return CosignerAuditEntry(tag, AuditOutcome.OK, "operator:1", key, data=data)


@pytest.fixture
def made(request):
    """Makes alarms that end with the test."""
    all_made = []

    def make(send, **given):
        all_made.append(CosignerAlarms(send, **{"gap": 0.01, **given}))
        return all_made[-1]

    yield make
    for each in all_made:
        each.close()


@pytest.mark.parametrize(
    ("url", "to"),
    [
        ("smtp://localhost", []),
        ("", ["a@b.example"]),
        ("http://localhost", ["a@b.example"]),
        ("smtp://", ["a@b.example"]),
    ],
)
def test_half_a_setting_is_refused(url, to):
    with pytest.raises(AlarmMailMisconfiguredError):
        alarm_mail(url, to, "c@b.example")


def test_without_a_setting_there_is_no_mail_and_a_password_is_not_shown():
    assert alarm_mail("", [], "c@b.example") is None
    assert "hunter2" not in repr(alarm_mail("smtp://me:hunter2@mail.example", ["a@b.example"], "c@b.example"))


def test_changes_of_power_are_alarming_and_use_is_not():
    told = {
        "operator:stopped",
        "operator:resumed",
        "operator:limited",
        "budget:reached",
        "rate:unusual",
        "key:forgotten",
    }
    told |= {"authoriser:succeeded", "authoriser:replaced"}
    assert told <= {tag.value.removeprefix("cosigner:") for tag in ALARMING}
    silent = {CosignerAuditTag.SIGNED, CosignerAuditTag.CONTRIBUTED, CosignerAuditTag.AUTHORISER_REGISTERED}
    assert not ALARMING & {*silent, CosignerAuditTag.REFUSED, CosignerAuditTag.STARTED}


async def test_an_alarm_names_key_and_who(made):
    mails = Mails()
    made(mails).watch(
        [row(CosignerAuditTag.SIGNED, "aa" * 16), row(CosignerAuditTag.OPERATOR_STOPPED, "bb" * 16, reason="x")]
    )
    await eventually(lambda: mails.taken)
    ((subject, text),) = mails.taken
    assert subject == "Keycast co-signer: an alarm"
    assert "cosigner:operator:stopped" in text
    assert "bb" * 16 in text
    assert "aa" * 16 not in text


async def test_a_mail_that_is_refused_is_tried_again(made):
    mails = Mails(refuses=2)
    made(mails).watch([row(CosignerAuditTag.BUDGET_REACHED)])
    await eventually(lambda: mails.taken)
    assert mails.asked == 3


async def test_a_flood_is_few_mails_and_says_what_it_left_out(made):
    hold, mails = threading.Event(), Mails()

    def slow(subject, text):
        hold.wait(10)
        mails(subject, text)

    alarms = made(slow)
    alarms.watch([row(CosignerAuditTag.OPERATOR_LIMITED)] * (3 * WAITING))
    hold.set()
    await eventually(lambda: any("found no room" in text for _, text in mails.taken))
    assert len(mails.taken) <= 2 + WAITING // (LINES - 1)


async def test_many_refusals_are_one_alarm(made):
    mails, now = Mails(), [0.0]
    alarms = made(mails, clock=lambda: now[0])
    for _ in range(REFUSALS - 1):
        alarms.refused()
    now[0] += alarms_module.REFUSALS_WITHIN + 1
    for _ in range(3 * REFUSALS):
        alarms.refused()
    await eventually(lambda: mails.taken)
    assert len(mails.taken) == 1
    assert "requests refused" in mails.taken[0][1]


async def test_the_operators_commands_are_told_by_the_serving_process(tmp_path, made):
    mails, bench = Mails(), Bench(tmp_path)
    bench.watch = made(mails).watch
    await bench.start()
    key = await bench.key()
    operator.stop(tmp_path / "b.sqlite3", key_scope(key.key_id), "a reason")
    with pytest.raises(StoppedByCosigner):
        await bench.signer.sign_event_id(key, note(key), id_of(note(key)))
    await eventually(lambda: mails.taken)
    assert [text.count("cosigner:operator:stopped") for _, text in mails.taken] == [1]
    await bench.stop()


async def test_a_mail_server_that_never_answers_holds_nothing_up(tmp_path, made):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        bench = Bench(tmp_path)
        alarms = made(alarm_mail(url, ["a@b.example"], "c@b.example"))
        bench.watch = alarms.watch
        await bench.start()
        key = await bench.key()
        alarms.watch([row(CosignerAuditTag.OPERATOR_LIMITED)] * (2 * WAITING))
        await bench.signer.sign_event_id(key, note(key), id_of(note(key)))
        assert alarms.dropped > 0
        await bench.stop()
