"""The owner reads the co-signer's own record beside ours, and that it cannot be had, or differs."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import transaction
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.crypto.schnorr import Keypair
from keys.cosigner.audit import CosignerAuditTag
from keys.models import KeyState, PersonalKey
from keys.portal import cosigner_record as page
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.signing.cosigning.messages import KeyLogReply, LogEntry, ReadingEntry
from keys.split import reading
from keys.split.cosigner_record import _SENTENCES, PAGE_SIZE, record_of

EVENT, APP = "ab" * 32, "11" * 32


class Cosigner:
    """Answers with rows that a test gives it."""

    def __init__(self) -> None:
        self.rows: list[LogEntry] = []
        self.stop: tuple[int, str] = (0, "")
        self.is_away = False
        self.asked: list[int] = []
        self.readings: list[ReadingEntry] = []
        self.ended: list[tuple[Any, ...]] = []

    async def log(self, tenant_id: Any, key_id: Any, *, before: int = 0, limit: int = 50) -> KeyLogReply:
        if self.is_away:
            raise CosignerUnavailable
        self.asked.append(before)
        return KeyLogReply(0, self.rows[:limit], 99, *self.stop, {"signatures": 3}, self.readings)

    async def end_reading(self, *named: Any) -> None:
        if self.is_away:
            raise CosignerUnavailable
        self.ended.append(named)

    async def close(self) -> None:
        pass


def entry(tag: str, data: str = "{}", outcome: str = "ok", event: str = "") -> LogEntry:
    return LogEntry(7, 1_790_000_000_000_000, tag, outcome, b"", event, data)


@pytest.fixture
def cosigner(monkeypatch: Any) -> Cosigner:
    made = Cosigner()
    monkeypatch.setattr(page, "record_of", lambda key, before: record_of(key, before, made))  # type: ignore[arg-type]
    return made


@pytest.fixture
def split(ada: Any) -> PersonalKey:
    row = PersonalKey(tenant=ada.tenant, user=ada.user, name="Split", key_mode="hsm", hsm_provider="google")
    row.public_key, row.encrypted_half_key, row.kek_version = (
        Keypair.generate()[0].public_key_hex,
        os.urandom(100),
        "test-1",
    )
    row.kms_key_name, row.kms_key_version, row.state = f"user-{row.id}", "1", KeyState.ACTIVE
    row.authoriser_public_key, row.cosigner_public_key = "02" + os.urandom(32).hex(), os.urandom(32).hex()
    with scopes_disabled():
        row.save()
    return row


def shown(person: Any, key: PersonalKey, query: str = "") -> Any:
    return person.browser.get(f"/keys/{key.id}/cosigner/{query}")


def test_nobody_elses_and_no_whole_key_has_such_a_page(
    ada: Any, bob: Any, split: PersonalKey, cosigner: Cosigner
) -> None:
    assert shown(bob, split).status_code == 404
    assert shown(ada, ada.key()).status_code == 404
    assert cosigner.asked == []


def test_a_co_signer_that_is_away_is_said(ada: Any, split: PersonalKey, cosigner: Cosigner) -> None:
    cosigner.is_away = True
    text = shown(ada, split).content.decode()
    assert "cannot be shown now" in text
    assert CosignerUnavailable.public_message in text


def test_each_row_is_a_sentence_and_an_unknown_one_is_shown_as_it_is(
    ada: Any, split: PersonalKey, cosigner: Cosigner
) -> None:
    cosigner.rows = [
        entry("cosigner:event:signed", '{"kind":30023}', event=EVENT),
        entry("cosigner:request:refused", '{"reason":"over-budget","request":"<b>sign"}', "denied"),
        entry("cosigner:future:thing", "cut off"),
    ]
    text = shown(ada, split).content.decode()
    for words in ("Signed its part of an event", "event of kind 30023", EVENT, "over-budget", "future:thing"):
        assert words in text
    assert "<b>sign" not in text
    assert "Older" not in text


def test_every_row_that_a_key_can_have_has_its_words() -> None:
    named = {tag.value.removeprefix("cosigner:") for tag in CosignerAuditTag}
    assert named - set(_SENTENCES) == {"process:started"}


def test_pages_follow_each_other_and_take_no_nonsense(ada: Any, split: PersonalKey, cosigner: Cosigner) -> None:
    cosigner.rows = [entry("cosigner:event:signed")] * PAGE_SIZE
    assert "?before=7#record" in shown(ada, split).content.decode()
    for query in ("?before=7", "?before=x", "?before=-1", f"?before={2**60}"):
        assert shown(ada, split, query).status_code == 200
    assert cosigner.asked == [0, 7, 0, 0, 0]


def test_a_stop_by_the_co_signers_operator_is_said_with_its_reason(
    ada: Any, split: PersonalKey, cosigner: Cosigner
) -> None:
    cosigner.stop = 1_790_000_000_000_000, "the phone was stolen"
    text = shown(ada, split).content.decode()
    assert "Stopped by the co-signer" in text
    assert "the phone was stolen" in text


def test_the_keys_page_is_told_of_a_stop_when_it_is_there(
    ada: Any, bob: Any, split: PersonalKey, cosigner: Cosigner
) -> None:
    address = f"/keys/{split.id}/cosigner/status/"
    assert address in ada.browser.get(f"/keys/{split.id}/").content.decode()
    assert cosigner.asked == [], "the page itself waits for nobody"
    assert bob.browser.get(address, HTTP_HX_REQUEST="true").status_code == 404
    assert ada.browser.get(address).status_code == 302
    assert "signed 3 times" in ada.browser.get(address, HTTP_HX_REQUEST="true").content.decode()
    cosigner.stop = 1_790_000_000_000_000, "the phone was stolen"
    assert "the phone was stolen" in ada.browser.get(address, HTTP_HX_REQUEST="true").content.decode()
    cosigner.is_away = True
    assert CosignerUnavailable.public_message in ada.browser.get(address, HTTP_HX_REQUEST="true").content.decode()


def test_a_difference_is_on_the_keys_page_and_beside_the_record(
    ada: Any, split: PersonalKey, cosigner: Cosigner
) -> None:
    before = ada.browser.get(f"/keys/{split.id}/").content.decode()
    assert f"/keys/{split.id}/cosigner/" in before
    assert "no difference was found" in before
    assert "cosigner" not in ada.browser.get(f"/keys/{ada.key().id}/").content.decode()
    data = {"event": EVENT, "side": "co-signer", "at": "2026-11-29T12:00:00+00:00"}
    told = AuditEntry(
        chain_of(split.tenant_id),
        AuditTag.COSIGNER_LOG_DIFFERS,
        AuditOutcome.FAILED,
        Actor.system("jobs"),
        split.id.hex,
        data=data,
    )
    with transaction.atomic():
        record(told)
    for text in (ada.browser.get(f"/keys/{split.id}/").content.decode(), shown(ada, split).content.decode()):
        assert "record and ours differ" in text
        assert EVENT in text
        assert "Only the co-signer has this signature" in text


def test_who_may_read_until_when_is_shown_and_the_owner_ends_it(
    ada: Any,
    bob: Any,
    split: PersonalKey,
    cosigner: Cosigner,
    monkeypatch: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    monkeypatch.setattr(reading, "CosignerClient", lambda **_: cosigner)
    assert "may read until" not in shown(ada, split).content.decode()
    cosigner.readings = [ReadingEntry(bytes.fromhex(APP), 1_790_000_000_000, 1_790_000_600_000, 1000, 37, 35)]
    address = f"/keys/{split.id}/cosigner/end-reading/"
    for text in (
        shown(ada, split).content.decode(),
        ada.browser.get(f"/keys/{split.id}/cosigner/status/", HTTP_HX_REQUEST="true").content.decode(),
    ):
        assert "may read until" in text
        assert "37 of 1000 used" in text
        assert APP in text, "an app that is not the owner's is named by its key"
    assert address in shown(ada, split).content.decode()
    assert bob.browser.post(address, {"client": APP}).status_code == 404
    assert ada.browser.get(address).status_code == 405
    with django_capture_on_commit_callbacks(execute=True):
        for client in (APP, "nonsense", ""):
            assert ada.browser.post(address, {"client": client}).status_code == 302
    assert cosigner.ended == [(split.tenant_id, split.id, bytes.fromhex(APP))]
