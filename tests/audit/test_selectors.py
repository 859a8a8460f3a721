"""Pages of the log: bounded by their chain, narrowed by filters, followed by key."""

from __future__ import annotations

import datetime
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keycast.audit import writing
from keycast.audit.entries import Actor, Entry
from keycast.audit.selectors import BadCursor, Filters, page, page_of_all_chains
from keycast.audit.sentences import outcome_word, sentence
from keycast.audit.services import append
from keycast.audit.tags import Outcome, Tag, of_method

pytestmark = pytest.mark.django_db
MINE, THEIRS = "a" * 32, "b" * 32
KEY, APP = "c" * 32, "d" * 32
CLIENT = Actor.client("f" * 64, "An app")


def write(*entries: Entry, at: int = 1_764_000_000) -> None:
    with mock.patch.object(writing.time, "time_ns", return_value=at * 10**9), connection.cursor() as cursor:
        append(cursor, entries)


def entry(chain: str = MINE, tag: Tag = Tag.SIGN_EVENT, outcome: Outcome = Outcome.OK, **fields: object) -> Entry:
    return Entry(chain, tag, outcome, CLIENT, **fields)  # type: ignore[arg-type]


def numbers(**arguments: object) -> list[int]:
    return [line.data["n"] for line in page(**{"chain": MINE, **arguments}).lines]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", "1.", ".1", "1.x", "-1.2", "1.2.3", "\u0663.\u0661", f"{2**63}.1", "1 .2", "1.2\n"],
)
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        page(chain=MINE, cursor=cursor)
    with pytest.raises(BadCursor):
        page_of_all_chains(cursor=cursor)


def test_another_tenants_rows_are_never_found() -> None:
    write(entry(THEIRS, key_id=KEY, connection_id=APP, request_id="e" * 64))
    assert page(chain=MINE).lines == []
    assert page(chain=MINE, key_id=KEY).lines == []
    assert page(chain=MINE, connection_id=APP, request_id="e" * 64).lines == []
    assert page(chain=MINE, cursor="9999999999999999.99").lines == []


def test_pages_follow_each_other_without_gap_or_overlap() -> None:
    for second in range(3):  # several rows share a moment
        write(*[entry(data={"n": 5 * second + n}) for n in range(5)], at=1_764_000_000 + second)
    seen: list[int] = []
    cursor = ""
    for _ in range(8):
        found = page(chain=MINE, cursor=cursor, limit=2)
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


def test_rows_are_found_by_key_by_app_and_by_request() -> None:
    write(
        entry(data={"n": 1}, key_id=KEY), entry(data={"n": 2}, connection_id=APP), entry(data={"n": 3}, request_id="e")
    )
    assert (numbers(key_id=KEY), numbers(connection_id=APP), numbers(request_id="e")) == ([1], [2], [3])


def test_filters_narrow_by_tag_outcome_actor_and_time() -> None:
    write(entry(data={"n": 1}), at=100)
    write(entry(data={"n": 2}, outcome=Outcome.DENIED), at=200)
    write(entry(data={"n": 3}, tag=Tag.PING), at=300)
    moment = lambda second: datetime.datetime.fromtimestamp(second, datetime.UTC)  # noqa: E731
    assert numbers(filters=Filters(tags=[Tag.PING])) == [3]
    assert numbers(filters=Filters(outcomes=[Outcome.DENIED, Outcome.FAILED])) == [2]
    assert numbers(filters=Filters(actor_id="f" * 64)) == [3, 2, 1]
    assert numbers(filters=Filters(actor_id="0" * 64)) == []
    assert numbers(filters=Filters(since=moment(200), until=moment(300))) == [2]


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


@pytest.mark.parametrize("tag", Tag)
def test_every_tag_fits_its_column_and_has_a_sentence(tag: Tag) -> None:
    assert len(tag) <= 48
    assert sentence(tag) != tag


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_word(outcome: Outcome) -> None:
    assert outcome_word(outcome)


def test_unknown_tags_and_methods_stand_for_themselves() -> None:
    assert sentence("newer:thing:done") == "newer:thing:done"
    assert outcome_word("newer") == "newer"
    assert of_method("nip44_decrypt") is Tag.NIP44_DECRYPT
    assert of_method("format_disk") is Tag.UNKNOWN_METHOD
