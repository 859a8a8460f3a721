"""Writing audit rows: what is refused, what is kept, and in which form."""

from __future__ import annotations

import json
from unittest import mock
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError

from keycast.audit import writer
from keycast.audit.chain import genesis
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import AuditUnavailable
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.services import append, chain_of, record, verify
from keycast.audit.tags import AuditOutcome, AuditTag

ACTOR = Actor.system("test")


def entry(chain: str = "platform", **fields: object) -> AuditEntry:
    return AuditEntry(
        **{"chain": chain, "tag": AuditTag.KEY_CREATED, "outcome": AuditOutcome.OK, "actor": ACTOR, **fields}
    )  # type: ignore[arg-type]


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_write_outside_a_transaction() -> None:
    with pytest.raises(TransactionManagementError):
        record(entry())
    assert not AuditRow.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_failing_write_undoes_what_it_was_to_record() -> None:
    with (
        pytest.raises(AuditUnavailable),
        mock.patch.object(writer, "_MOVE_HEAD", "UPDATE nowhere SET sequence = %s, head = %s WHERE name = %s"),
        transaction.atomic(),
    ):
        AuditChain.objects.create(name="other", head=genesis("other"))
        record(entry())
    assert not AuditRow.objects.exists()
    assert not AuditChain.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_caller_that_swallows_the_failure_is_rolled_back_all_the_same() -> None:
    with transaction.atomic():
        record(entry("other"))
        with (
            mock.patch.object(writer, "_insert", side_effect=DatabaseError("disk full")),
            pytest.raises(AuditUnavailable),
        ):
            record(entry())
    assert not AuditRow.objects.exists()


@pytest.mark.django_db
def test_the_first_row_starts_from_the_genesis_of_its_chain() -> None:
    record(entry("platform"))
    row = AuditRow.objects.get()
    assert (row.sequence, bytes(row.previous_hash)) == (1, genesis("platform"))


@pytest.mark.django_db
def test_rows_of_several_chains_are_written_at_once_and_in_order() -> None:
    with connection.cursor() as cursor:
        append(cursor, [entry("b" * 32), entry("a" * 32), entry("b" * 32, data={"n": 2})])
        append(cursor, [entry("b" * 32, data={"n": 3})])
        append(cursor, [])
    rows = AuditRow.objects.filter(chain="b" * 32).order_by("sequence")
    assert [(row.sequence, row.data) for row in rows] == [(1, "{}"), (2, '{"n":2}'), (3, '{"n":3}')]
    assert bytes(AuditChain.objects.get(name="b" * 32).head) == bytes(rows[2].hash)
    assert verify().is_intact


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 391])
def test_batches_of_any_size_are_written_whole_and_in_order(count: int) -> None:
    with connection.cursor() as cursor:
        append(cursor, [entry(data={"n": number}) for number in range(count)])
    rows = AuditRow.objects.order_by("sequence").values_list("sequence", "data")
    assert list(rows) == [(number + 1, f'{{"n":{number}}}') for number in range(count)]
    assert verify().is_intact


@pytest.mark.django_db
def test_a_row_keeps_who_did_it_and_what_it_concerned() -> None:
    tenant, key = uuid4(), uuid4()
    record(
        entry(
            chain_of(tenant),
            tag=AuditTag.SIGN_EVENT,
            outcome=AuditOutcome.INTENT,
            actor=Actor.client("f" * 64, "An app"),
            key_id=key.hex,
            connection_id="c" * 32,
            request_id="e" * 64,
            data={"size": 3, "kind": 1},
        )
    )
    row = AuditRow.objects.get()
    assert (row.chain, row.tag, row.outcome) == (tenant.hex, "bunker:sign_event:request", "intent")
    assert (row.actor_type, row.actor_id, row.actor_label) == ("client", "f" * 64, "An app")
    assert (row.key_id, row.connection_id, row.request_id) == (key.hex, "c" * 32, "e" * 64)
    assert row.data == '{"kind":1,"size":3}'


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("label", "kept"),
    [
        ("two\r\nlines\x00\x1b[31m", "two\\u{d}\\u{a}lines\\u{0}\\u{1b}[31m"),
        ("\u202egnp.exe", "\\u{202e}gnp.exe"),
        ("\ud800", "\\u{d800}"),
        ("x" * 300, "x" * 200),
        ("Zoë ⚡", "Zoë ⚡"),
    ],
)
def test_labels_that_apps_choose_cannot_forge_or_break_a_row(label: str, kept: str) -> None:
    record(entry(actor=Actor.client("f" * 64, label)))
    assert AuditRow.objects.get().actor_label == kept
    assert verify().is_intact


@pytest.mark.django_db
@pytest.mark.parametrize("data", [{"x": object()}, {"x": "\ud800"}, {"x": "y" * 5000}, {1: 2}])
def test_data_that_cannot_be_kept_is_named_and_stops_nothing(data: dict[object, object]) -> None:
    record(entry(data=data))
    assert "omitted" in json.loads(AuditRow.objects.get().data)
