"""The one token bucket."""

from __future__ import annotations

import pytest

from keycast.base.token_bucket import BucketMap, TokenBucket
from tests.bunker.relays.support import Clock


def test_a_bucket_refuses_when_empty_and_refills_with_time() -> None:
    clock = Clock()
    bucket = TokenBucket(2, 4, clock)
    assert [bucket.take() for _ in range(5)] == [True] * 4 + [False]
    clock.now += 1
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.now += 3600
    assert [bucket.take() for _ in range(5)] == [True] * 4 + [False]


def test_a_clock_that_steps_back_gives_nothing() -> None:
    clock = Clock()
    bucket = TokenBucket(1, 1, clock)
    assert bucket.take()
    clock.now -= 10
    assert not bucket.take()


def test_a_charge_makes_debt_that_is_waited_for() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 10, clock)
    assert bucket.charge(10) == 0
    assert bucket.charge(5) == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.charge(0) == 0


def test_tokens_given_back_never_exceed_the_burst() -> None:
    bucket = TokenBucket(1, 2, Clock())
    bucket.give_back(10)
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_buckets_by_name_are_bounded_and_the_busy_ones_stay() -> None:
    buckets = BucketMap(1, 1, 2, Clock())
    first = buckets.of("a")
    buckets.of("b")
    assert buckets.of("a") is first
    buckets.of("c")
    assert buckets.of("a") is first
    assert len(buckets) == 2


def test_a_bucket_gives_its_burst_and_then_its_rate_by_the_time_that_the_caller_brings() -> None:
    bucket = TokenBucket(rate=10, burst=3, clock=lambda: 100.0)
    assert [bucket.take(now=100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(now=100.15)
    assert not bucket.take(now=100.15)


def test_work_that_came_before_the_bucket_was_made_finds_it_full() -> None:
    assert TokenBucket(rate=10, burst=1, clock=lambda: 100.0).take(now=99.0)
