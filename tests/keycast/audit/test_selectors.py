"""Pages of the log: bounded by their chain, narrowed by filters, followed by key."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from unittest import mock

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from keycast.audit import writer
from keycast.audit.descriptions import outcome_word, sentence
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.selectors import (
    AuditFilters,
    AuditPage,
    BadCursor,
    history_of_key,
    page,
    page_of_all_chains,
    page_of_key,
    page_of_person,
)
from keycast.audit.services import append
from keycast.audit.tags import AuditOutcome, AuditTag, of_method

pytestmark = pytest.mark.django_db
MINE, THEIRS = "a" * 32, "b" * 32
KEY, APP = "c" * 32, "d" * 32
CLIENT = Actor.client("f" * 64, "An app")


def write(*entries: AuditEntry, at: int = 1_764_000_000) -> None:
    with mock.patch.object(writer.time, "time_ns", return_value=at * 10**9), connection.cursor() as cursor:
        append(cursor, entries)


def entry(
    chain: str = MINE, tag: AuditTag = AuditTag.SIGN_EVENT, outcome: AuditOutcome = AuditOutcome.OK, **fields: object
) -> AuditEntry:
    return AuditEntry(chain, tag, outcome, CLIENT, **fields)  # type: ignore[arg-type]


def numbers(**arguments: object) -> list[int]:
    return [line.data["n"] for line in page(**{"chain": MINE, **arguments}).lines]  # type: ignore[arg-type]


@pytest.mark.parametrize("cursor", ["x", "1.2", "-1", "\u0661", "9" * 19, "1 ", " 1", "1\n", "0x1", "1_0"])
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str) -> None:
    for ask in (
        lambda: page(chain=MINE, cursor=cursor),
        lambda: page_of_key(chain=MINE, key_id=KEY, cursor=cursor),
        lambda: page_of_person(chain=MINE, actor_id="f" * 64, cursor=cursor),
        lambda: page_of_all_chains(cursor=cursor),
    ):
        with pytest.raises(BadCursor):
            ask()


def test_another_tenants_rows_are_never_found() -> None:
    write(entry(THEIRS, key_id=KEY, connection_id=APP, request_id="e" * 64), entry(THEIRS))
    assert page(chain=MINE).lines == []
    assert page(chain=MINE, cursor="99").lines == []
    assert page_of_key(chain=MINE, key_id=KEY).lines == []
    assert page_of_key(chain=MINE, key_id=KEY, connection_id=APP).lines == []
    assert page_of_person(chain=MINE, actor_id="f" * 64).lines == []


@pytest.mark.parametrize("kind", ["chain", "key", "all"])
def test_pages_follow_each_other_without_gap_or_overlap(kind: str) -> None:
    for second in range(3):  # several rows share a moment
        write(*[entry(data={"n": 5 * second + n}, key_id=KEY) for n in range(5)], at=1_764_000_000 + second)
    ask: dict[str, Callable[[str], AuditPage]] = {
        "chain": lambda cursor: page(chain=MINE, cursor=cursor, limit=2),
        "key": lambda cursor: page_of_key(chain=MINE, key_id=KEY, cursor=cursor, limit=2),
        "all": lambda cursor: page_of_all_chains(cursor=cursor, limit=2),
    }
    seen: list[int] = []
    cursor = ""
    for _ in range(8):
        found = ask[kind](cursor)
        seen += [line.data["n"] for line in found.lines]
        cursor = found.next_cursor
    assert seen == list(range(14, -1, -1))
    assert cursor == ""


def test_a_page_is_one_query_and_bounded() -> None:
    write(*[entry(data={"n": n}) for n in range(20)])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(page(chain=MINE, limit=10**9).lines) == 20
        assert len(page(chain=MINE, limit=0).lines) == 1
    assert len(queries) == 2


def shown(found: AuditPage) -> list[int]:
    return [line.data["n"] for line in found.lines]


def test_a_keys_page_has_its_results_and_changes_without_intents() -> None:
    write(entry(data={"n": 1}, key_id=KEY, tag=AuditTag.KEY_CREATED))
    write(entry(data={"n": 2}, key_id=KEY, connection_id=APP, request_id="e" * 64, outcome=AuditOutcome.INTENT))
    write(entry(data={"n": 3}, key_id=KEY, connection_id=APP, request_id="e" * 64))
    write(entry(data={"n": 4}, key_id="0" * 32))
    assert shown(page_of_key(chain=MINE, key_id=KEY)) == [3, 1]
    assert shown(page_of_key(chain=MINE, key_id=KEY, connection_id=APP)) == [3]


def test_a_persons_page_has_what_they_did_but_no_apps_requests() -> None:
    write(entry(data={"n": 1}), entry(data={"n": 2}, request_id="e" * 64))
    assert shown(page_of_person(chain=MINE, actor_id="f" * 64)) == [1]


def moment(second: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, datetime.UTC)


def test_filters_narrow_by_tag_outcome_actor_request_and_time() -> None:
    write(entry(data={"n": 1}), at=100)
    write(entry(data={"n": 2}, outcome=AuditOutcome.DENIED), at=200)
    write(entry(data={"n": 3}, tag=AuditTag.PING, request_id="e" * 64), at=300)
    assert numbers(filters=AuditFilters(tags=[AuditTag.PING])) == [3]
    assert numbers(filters=AuditFilters(outcomes=[AuditOutcome.DENIED, AuditOutcome.FAILED])) == [2]
    assert numbers(filters=AuditFilters(actor_id="f" * 64)) == [3, 2, 1]
    assert numbers(filters=AuditFilters(actor_id="0" * 64)) == []
    assert numbers(filters=AuditFilters(request_id="e" * 64)) == [3]
    assert numbers(filters=AuditFilters(since=moment(200), until=moment(300))) == [2]


def test_a_time_range_is_found_in_a_long_chain_even_if_the_clock_was_set_back_in_it() -> None:
    hours = [0, 5, 10, 20, 19, 30, 40]  # one step back, within the hour that is allowed for
    for hour in hours:
        write(entry(data={"n": hour}), at=hour * 3600 + 1_000_000)
    for since in hours:
        for until in hours:
            filters = AuditFilters(since=moment(since * 3600 + 1_000_000), until=moment(until * 3600 + 1_000_000))
            assert numbers(filters=filters) == [hour for hour in reversed(hours) if since <= hour < until]


@pytest.mark.parametrize(
    "rows",
    [
        AuditRow.objects.filter(chain=MINE, key_id=KEY).exclude(outcome=AuditOutcome.INTENT).order_by("-id"),
        AuditRow.objects.filter(chain=MINE, actor_id=KEY, request_id="").order_by("-id"),
        AuditRow.objects.filter(chain=MINE, sequence__lt=9).order_by("-sequence"),
    ],
)
def test_every_page_has_an_index_on_sqlite(rows: QuerySet[AuditRow]) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("Another database's planner looks at the number of rows too.")
    plan = rows[:51].explain()
    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan


def test_the_life_of_a_key_leaves_its_use_out_and_has_an_index() -> None:
    write(
        entry(tag=AuditTag.KEY_CREATED, key_id=KEY), entry(key_id=KEY, request_id="e" * 64), entry(THEIRS, key_id=KEY)
    )
    with CaptureQueriesContext(connection) as captured:
        assert [line.tag for line in history_of_key(chain=MINE, key_id=KEY).lines] == [AuditTag.KEY_CREATED]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {captured[0]['sql']}")
            assert "audit_row_life" in str(cursor.fetchall())


def test_a_line_reads_well() -> None:
    write(entry(data={"kind": 1}, key_id=KEY))
    (line,) = page(chain=MINE).lines
    assert (line.sentence, line.outcome_word, line.actor_label) == ("Sign an event", "done", "An app")
    assert line.at == datetime.datetime(2025, 11, 24, 16, 0, tzinfo=datetime.UTC)
    assert (line.sequence, len(line.hash)) == (1, 64)


def test_staff_read_all_chains_newest_first() -> None:
    write(entry(MINE), entry(THEIRS), entry(MINE))
    first = page_of_all_chains(limit=2)
    assert [line.chain for line in first.lines] == [MINE, THEIRS]
    assert [line.chain for line in page_of_all_chains(cursor=first.next_cursor).lines] == [MINE]


@pytest.mark.parametrize("tag", AuditTag)
def test_every_tag_fits_its_column_and_has_a_sentence(tag: AuditTag) -> None:
    assert len(tag) <= 48
    assert sentence(tag) != tag


@pytest.mark.parametrize("outcome", AuditOutcome)
def test_every_outcome_has_its_word(outcome: AuditOutcome) -> None:
    assert outcome_word(outcome)


def test_unknown_tags_and_methods_stand_for_themselves() -> None:
    assert sentence("newer:thing:done") == "newer:thing:done"
    assert outcome_word("newer") == "newer"
    assert of_method("nip44_decrypt") is AuditTag.NIP44_DECRYPT
    assert of_method("format_disk") is AuditTag.UNKNOWN_METHOD
