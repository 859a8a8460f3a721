"""The circuit breaker."""

from __future__ import annotations

import pytest

from keys.hsm.circuit_breaker import FAILURES, FIRST_REST, LONGEST_REST, PROBE_TIMEOUT, Breaker


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("test", clock=clock)


def fail(breaker, times=FAILURES):
    for _ in range(times):
        breaker.failed()


def test_it_admits_until_failures_come_in_a_row(breaker):
    fail(breaker, FAILURES - 1)
    breaker.succeeded()
    fail(breaker, FAILURES - 1)
    assert breaker.admits()
    assert not breaker.is_open


def test_open_it_refuses_everybody_then_admits_one_probe(breaker, clock):
    fail(breaker)
    assert breaker.is_open
    assert not breaker.admits()
    clock.now = FIRST_REST * 1.3
    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_a_successful_probe_closes_the_breaker(breaker, clock):
    fail(breaker)
    clock.now = FIRST_REST * 1.3
    assert breaker.admits()
    breaker.succeeded()
    assert not breaker.is_open
    assert all(breaker.admits() for _ in range(3))


def test_each_bad_probe_doubles_the_rest_up_to_a_limit(breaker, clock):
    fail(breaker)
    for _ in range(10):
        clock.now += LONGEST_REST * 1.3
        assert breaker.admits()
        breaker.failed()
    clock.now += LONGEST_REST * 0.7
    assert not breaker.admits()
    clock.now += LONGEST_REST * 0.6
    assert breaker.admits()


def test_failures_of_calls_from_before_it_opened_do_not_lengthen_the_rest(breaker, clock):
    fail(breaker, FAILURES * 10)
    clock.now = FIRST_REST * 1.3
    assert breaker.admits()


def test_a_probe_that_never_reports_blocks_the_next_one_for_a_while_only(breaker, clock):
    fail(breaker)
    clock.now = FIRST_REST * 1.3
    assert breaker.admits()
    clock.now += PROBE_TIMEOUT - 0.1
    assert not breaker.admits()
    clock.now += 0.2
    assert breaker.admits()
