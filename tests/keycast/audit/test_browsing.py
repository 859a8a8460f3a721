"""The log as people browse it: any mix of filters, forwards and backwards, in bounded stretches that say so."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keycast.audit import browsing
from keycast.audit.browsing import AuditBrowsePage, browse
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.positions import ends, first_since
from keycast.audit.selectors import AuditFilters, BadCursor
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.keycast.audit.test_selectors import APP, KEY, MINE, THEIRS, entry, moment, write

pytestmark = pytest.mark.django_db
PERSON = "e" * 32


def shown(sheet: AuditBrowsePage) -> list[int]:
    return [line.data["n"] for line in sheet.lines]


def by_person(n: int, **fields: Any) -> AuditEntry:
    return AuditEntry(
        MINE, AuditTag.KEY_RENAMED, AuditOutcome.OK, Actor("user", PERSON, "ada"), data={"n": n}, **fields
    )


def walk(filters: AuditFilters, chain: str = MINE, limit: int = 3) -> tuple[list[int], list[int]]:
    """Everything, once by going back page by page, once by coming forward again from the end."""
    seen, sheet = [], browse(filters=filters, chain=chain, limit=limit)
    assert sheet.newer == ""
    seen += shown(sheet)
    while sheet.older:
        sheet = browse(filters=filters, chain=chain, before=sheet.older, limit=limit)
        seen += shown(sheet)
    forward = shown(sheet)
    while sheet.newer:
        sheet = browse(filters=filters, chain=chain, after=sheet.newer, limit=limit)
        forward = shown(sheet) + forward
    return seen, forward


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 19, "1\n", "\u0661"])
@pytest.mark.parametrize("direction", ["before", "after"])
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str, direction: str) -> None:
    with pytest.raises(BadCursor):
        browse(filters=AuditFilters(), chain=MINE, **{direction: cursor})


@pytest.mark.parametrize("cursor", ["", "1", "5", "999"])
def test_no_cursor_and_no_filter_leads_into_another_chain(cursor: str) -> None:
    write(*[entry(THEIRS, data={"n": n}, key_id=KEY, connection_id=APP) for n in range(9)])
    for filters in (
        AuditFilters(),
        AuditFilters(key_id=KEY),
        AuditFilters(connection_id=APP),
        AuditFilters(actor_id="f" * 64),
    ):
        assert browse(filters=filters, chain=MINE, before=cursor).lines == []
        assert browse(filters=filters, chain=MINE, after=cursor).lines == []


def test_an_empty_log_is_an_empty_page() -> None:
    for filters in (
        AuditFilters(),
        AuditFilters(since=moment(5)),
        AuditFilters(until=moment(5)),
        AuditFilters(key_id=KEY),
    ):
        assert browse(filters=filters) == AuditBrowsePage([])


@pytest.mark.parametrize("window", [2, 4, 1000])
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_every_row_is_found_once_both_ways_by_every_filter(
    window: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "WINDOW", window)
    monkeypatch.setattr(browsing, "CHAIN_WINDOW", window)
    monkeypatch.setattr(browsing, "SCATTERED_WINDOW", window)
    numbers = itertools.count()
    wanted: dict[str, list[int]] = {name: [] for name in ("key", "app", "person", "denied", "tag", "client", "all")}
    for step in range(12):
        n = next(numbers)
        outcome = AuditOutcome.DENIED if step % 3 == 0 else AuditOutcome.OK
        tag = AuditTag.PING if step % 5 == 0 else AuditTag.SIGN_EVENT
        write(entry(data={"n": n}, key_id=KEY, connection_id=APP, request_id="e" * 64, outcome=outcome, tag=tag))
        for name, fits in (("key", True), ("app", True), ("client", True), ("denied", step % 3 == 0)):
            wanted[name] += [n] if fits else []
        wanted["tag"] += [n] if step % 5 == 0 else []
        write(entry(THEIRS, data={"n": -1}), entry(THEIRS, data={"n": -1}, key_id=KEY))
        m = next(numbers)
        write(by_person(m))
        wanted["person"].append(m)
        wanted["all"] += [n, m]
    for name, filters in {
        "key": AuditFilters(key_id=KEY),
        "app": AuditFilters(key_id=KEY, connection_id=APP),
        "person": AuditFilters(actor_id=PERSON),
        "denied": AuditFilters(outcomes=[AuditOutcome.DENIED]),
        "tag": AuditFilters(tags=[AuditTag.PING]),
        "client": AuditFilters(actor_id="f" * 64),
        "all": AuditFilters(),
    }.items():
        back, forward = walk(filters, limit=limit)
        assert back == forward == wanted[name][::-1], name


def test_a_page_says_when_it_looked_through_a_stretch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "CHAIN_WINDOW", 4)
    write(entry(data={"n": 0}, outcome=AuditOutcome.DENIED), at=1_000)
    write(*[entry(data={"n": n}) for n in range(1, 7)], at=2_000)
    sheet = browse(filters=AuditFilters(outcomes=[AuditOutcome.DENIED]), chain=MINE)
    assert (sheet.lines, sheet.is_partial, sheet.looked_back_to) == ([], True, moment(2_000))
    further = browse(filters=AuditFilters(outcomes=[AuditOutcome.DENIED]), chain=MINE, before=sheet.older)
    assert (shown(further), further.is_partial, further.older) == ([0], False, "")


def test_a_keys_begun_requests_are_found_although_the_index_has_none() -> None:
    write(entry(data={"n": 1}, key_id=KEY, outcome=AuditOutcome.INTENT), entry(data={"n": 2}, key_id=KEY))
    assert shown(browse(filters=AuditFilters(key_id=KEY, outcomes=[AuditOutcome.INTENT]), chain=MINE)) == [1]
    assert shown(browse(filters=AuditFilters(key_id=KEY), chain=MINE)) == [2]


@pytest.mark.parametrize("chain", [MINE, ""])
def test_a_time_range_is_found_in_the_same_few_queries(chain: str) -> None:
    for minute in range(40):
        write(entry(data={"n": minute}), at=1_000_000 + 60 * minute)
    for since, until in ((0, 40), (7, 9), (39, 40), (0, 1), (12, 12)):
        filters = AuditFilters(since=moment(1_000_000 + 60 * since), until=moment(1_000_000 + 60 * until))
        with CaptureQueriesContext(connection) as queries:
            sheet = browse(filters=filters, chain=chain)
        assert shown(sheet) == list(range(until - 1, since - 1, -1))
        assert len(queries) <= 5


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 17])
def test_a_moment_is_found_by_bisection(rows: int) -> None:
    for second in range(rows):
        write(entry(data={}), at=100 + 10 * second)
    for chain in (MINE, ""):
        span = ends(chain)
        for second in range(90, 100 + 10 * rows + 10, 5):
            expected = span[0] + sum(100 + 10 * each < second for each in range(rows))
            assert first_since(second * 1_000_000, span, chain) == expected


def test_times_are_utc() -> None:
    write(entry(data={"n": 1}), at=0)
    assert browse(filters=AuditFilters(), chain=MINE).lines[0].at == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
