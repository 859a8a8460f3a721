"""Percentiles from fixed buckets."""

from __future__ import annotations

import pytest

from bunker.models import TrafficHour, TrafficMinute
from bunker.traffic.counts import BOUNDS_MS, BUCKETS, COLUMNS, added, percentile


def buckets(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in BUCKETS]


def test_the_percentile_of_no_uses_is_none() -> None:
    assert percentile(buckets(), 0.5) is None


def test_beyond_the_last_bound_the_bound_is_all_that_is_known() -> None:
    assert percentile(buckets(ms_more=3), 0.5) == BOUNDS_MS[-1]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.5), (0.95, 2.95), (1.0, 3.0)])
def test_within_a_bucket_uses_are_spread_evenly(share: float, expected: float) -> None:
    assert percentile(buckets(ms_3=100), share) == pytest.approx(expected)


def test_a_percentile_lies_in_the_bucket_where_its_use_is() -> None:
    counts = buckets(ms_1=50, ms_10=0, ms_100=0, ms_120=45, ms_5000=5)
    assert percentile(counts, 0.5) == 1
    assert 80 < (percentile(counts, 0.9) or 0) < 120
    assert 2000 < (percentile(counts, 0.99) or 0) <= 5000


def test_sums_are_by_column() -> None:
    assert added([]) == [0] * len(COLUMNS)
    assert added([[1] * len(COLUMNS), [2] * len(COLUMNS)]) == [3] * len(COLUMNS)


def test_the_tables_have_the_columns_that_are_counted() -> None:
    for model in (TrafficMinute, TrafficHour):
        assert [field.name for field in model._meta.fields if field.name in COLUMNS] == list(COLUMNS)
