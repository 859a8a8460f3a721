"""The audit log as an owner reads it."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from django.db import transaction

from bunker.models import Connection
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag


def note(connection: Connection, tag: AuditTag, outcome: AuditOutcome, **data: Any) -> None:
    entry = AuditEntry(
        chain=chain_of(connection.tenant_id),
        tag=tag,
        outcome=outcome,
        actor=Actor.client("ab" * 32, "<i>Damus</i>"),
        key_id=connection.key_id.hex,
        connection_id=connection.id.hex,
        request_id=secrets.token_hex(32),
        data=data,
    )
    with transaction.atomic():
        record(entry)


def page(person: Any, path: str) -> str:
    text: str = person.browser.get(path).content.decode()
    return text


def test_an_unreadable_page_address_is_refused_in_words(ada: Any) -> None:
    connection = ada.app()
    answer = ada.browser.get(f"/apps/{connection.id}/?before=nonsense")
    assert answer.status_code == 400
    assert b"Start again" in answer.content


@pytest.mark.parametrize(
    ("tag", "outcome", "data", "words"),
    [
        (AuditTag.SIGN_EVENT, AuditOutcome.OK, {"kind": 1, "size": 5}, ("Sign: note", "(kind 1)", "Done")),
        (AuditTag.SIGN_EVENT, AuditOutcome.OK, {"kind": 31234}, ("Sign: kind 31234",)),
        (
            AuditTag.SIGN_EVENT,
            AuditOutcome.DENIED,
            {"kind": 0, "reason": "policy"},
            ("Refused", "Not among the things"),
        ),
        (
            AuditTag.NIP44_DECRYPT,
            AuditOutcome.DENIED,
            {"peer": "cd" * 32, "reason": "no-access"},
            ("with cdcdcdcd…", "locked"),
        ),
        (AuditTag.SIGN_EVENT, AuditOutcome.FAILED, {"reason": "kek-unavailable"}, ("Failed", "out of reach")),
        (AuditTag.SIGN_EVENT, AuditOutcome.UNKNOWN, {"reason": "interrupted"}, ("outcome unknown",)),
        (AuditTag.SIGN_EVENT, AuditOutcome.DENIED, {"reason": "some-new-code"}, ("Code: some-new-code",)),
        (AuditTag.SIGN_EVENT, AuditOutcome.DENIED, {"kind": "<b>", "reason": "<script>"}, ("&lt;script&gt;",)),
    ],
)
def test_each_row_is_put_in_words(
    ada: Any, tag: AuditTag, outcome: AuditOutcome, data: Any, words: tuple[str, ...]
) -> None:
    connection = ada.app()
    note(connection, tag, outcome, **data)
    for path in (f"/apps/{connection.id}/", f"/keys/{connection.key_id}/activity/", f"/keys/{connection.key_id}/"):
        text = page(ada, path)
        assert all(word in text for word in words), (path, words)
        assert "<i>Damus" not in text


def test_what_was_begun_is_not_shown_beside_how_it_ended(ada: Any) -> None:
    connection = ada.app()
    note(connection, AuditTag.SIGN_EVENT, AuditOutcome.INTENT, kind=7)
    assert "Sign: reaction" not in page(ada, f"/apps/{connection.id}/")


def test_older_rows_are_a_page_away_and_the_filter_goes_along(ada: Any) -> None:
    connection = ada.app()
    for number in range(30):
        note(connection, AuditTag.SIGN_EVENT, AuditOutcome.DENIED, kind=0, reason=f"Number {number}.")
    first = page(ada, f"/apps/{connection.id}/?outcome=denied")
    assert "Number 29." in first
    assert "Number 4." not in first
    older = first.split('href="?outcome=denied&amp;before=')[1].split("#")[0]
    second = page(ada, f"/apps/{connection.id}/?outcome=denied&before={older}")
    assert "Number 4." in second
    assert "Number 29." not in second
    assert "before=" not in second


def test_a_filter_nobody_offers_shows_everything(ada: Any) -> None:
    connection = ada.app()
    assert "Bunker URL issued" in page(ada, f"/apps/{connection.id}/?outcome=%27--")


def test_the_account_page_lists_own_sign_ins_only(ada: Any, bob: Any) -> None:
    for person in (ada, bob):
        entry = AuditEntry(chain_of(ada.tenant.id), AuditTag.PASSWORD_CHANGED, AuditOutcome.OK, person.actor)
        with transaction.atomic():
            record(entry)
    assert page(ada, "/security/").count("Password changed") == 1
