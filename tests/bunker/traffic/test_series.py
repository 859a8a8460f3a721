"""Figures of a span: what workers wrote, added up, with what they have not written yet, from minutes and hours."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from bunker.models import TrafficHour, TrafficMinute
from bunker.traffic.counts import COLUMNS, EVERYONE, REFUSED, SIGNED
from bunker.traffic.rollup import HOURS_KEPT, MINUTES_KEPT, forget, roll_up
from bunker.traffic.series import SPANS, TrafficSeries, series, span_of

pytestmark = pytest.mark.django_db

NOW_MINUTE = 29_400_037  # not at the beginning of an hour
NOW = NOW_MINUTE * 60 + 5
HOUR, DAY, WEEK = SPANS


def minute(ago: int, *, worker: str = "a", tenant: uuid.UUID = EVERYONE, **numbers: int) -> None:
    TrafficMinute.objects.create(minute=NOW_MINUTE - ago, worker=worker, tenant_id=tenant, **numbers)


def signed(found: TrafficSeries) -> list[int]:
    return [slot.outcome(SIGNED) for slot in found.slots]


def row(**numbers: int) -> list[int]:
    return [numbers.get(name, 0) for name in COLUMNS]


def test_nothing_is_an_empty_series_of_full_length() -> None:
    for span in SPANS:
        found = series(span, now=NOW)
        assert found.is_empty
        assert len(found.slots) == span.steps
        assert found.slots[-1].at <= NOW < found.slots[-1].at + span.minutes * 60


def test_an_unknown_span_is_the_first() -> None:
    assert span_of("day") is DAY
    assert span_of("'; DROP TABLE") is HOUR


def test_what_is_older_than_the_span_or_of_another_tenant_is_left_out() -> None:
    minute(60, signed=5)
    minute(3, signed=7, tenant=uuid.uuid4())
    assert series(HOUR, now=NOW).is_empty


def test_workers_add_up() -> None:
    minute(3, signed=5, refused=1, ms_5=5)
    minute(3, signed=7, worker="b", ms_5=6, ms_8=1)
    found = series(HOUR, now=NOW)
    assert signed(found) == [*[0] * 56, 12, 0, 0, 0]
    assert found.whole.outcome(REFUSED) == 1
    assert found.whole.percentile(1.0) == 8


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.slug)
def test_every_span_counts_the_same_requests_once(span: Any) -> None:
    for ago in range(0, 60, 7):
        minute(ago, signed=1)
    roll_up(now=NOW)
    assert series(span, now=NOW).whole.outcome(SIGNED) == 9


def test_a_week_is_read_from_hours_and_the_newest_minutes() -> None:
    for ago in (0, 59, 200, 900, 4000):
        minute(ago, signed=1)
    roll_up(now=NOW)
    TrafficMinute.objects.filter(minute__lt=NOW_MINUTE - 300).delete()
    assert series(WEEK, now=NOW).whole.outcome(SIGNED) == 5


def test_a_week_without_the_job_is_read_from_minutes() -> None:
    for ago in (0, 200, 900):
        minute(ago, signed=1)
    assert series(WEEK, now=NOW).whole.outcome(SIGNED) == 3
    roll_up(now=NOW - 800 * 60)
    assert series(WEEK, now=NOW).whole.outcome(SIGNED) == 3


def test_what_is_not_written_yet_is_added_and_counted_once() -> None:
    minute(1, signed=3)
    unwritten = {"a": [[NOW_MINUTE - 1, *row(signed=3)], [NOW_MINUTE, *row(signed=2)]]}
    found = series(HOUR, unwritten=unwritten, now=NOW)
    assert signed(found)[-2:] == [3, 2]


def test_what_another_version_has_not_written_is_left_out() -> None:
    strange: Any = {"a": [[NOW_MINUTE, 1, 2], [], 7, None, [NOW_MINUTE, *["x"] * len(COLUMNS)]]}
    assert series(HOUR, unwritten=strange, now=NOW).is_empty


def test_one_tenants_figures_take_nothing_from_what_is_not_written() -> None:
    unwritten = {"a": [[NOW_MINUTE, *row(signed=2)]]}
    assert series(HOUR, uuid.uuid4(), unwritten, now=NOW).is_empty


def test_queries_are_few_however_much_there_is(django_assert_max_num_queries: Any) -> None:
    for ago in range(100):
        minute(ago, signed=1)
    for span in SPANS:
        with django_assert_max_num_queries(4):
            series(span, unwritten={"a": [[NOW_MINUTE, *row(signed=2)]]}, now=NOW)


def test_summing_up_again_changes_nothing() -> None:
    minute(3, signed=5, tenant=uuid.uuid4())
    minute(3, signed=5)
    minute(3, signed=2, worker="b")
    for _ in range(2):
        roll_up(now=NOW)
        assert sorted(TrafficHour.objects.values_list("signed", flat=True)) == [5, 7]


def test_minutes_that_came_late_are_summed_up_too() -> None:
    minute(3, signed=5)
    roll_up(now=NOW)
    minute(70, signed=1, worker="late")
    roll_up(now=NOW)
    assert sum(TrafficHour.objects.values_list("signed", flat=True)) == 6


def test_what_is_old_is_forgotten_and_what_is_not_stays() -> None:
    minute(MINUTES_KEPT + 1, signed=1)
    minute(MINUTES_KEPT - 1, signed=1)
    for ago in (HOURS_KEPT + 1, HOURS_KEPT - 1):
        TrafficHour.objects.create(hour=NOW_MINUTE // 60 - ago, tenant_id=EVERYONE)
    assert forget(now=NOW) == 2
    assert TrafficMinute.objects.get().minute == NOW_MINUTE - MINUTES_KEPT + 1
    assert TrafficHour.objects.count() == 1
