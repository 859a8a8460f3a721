"""However an HSM fails, a call of it has ended within the time that it may take: by a clock that moves when told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from keys.hsm import calling
from keys.hsm.calling import SHORTEST_TRY, TOTAL_SECONDS, TRIES, TRY_SECONDS, Course, Health, Pause, Verdict, within
from keys.hsm.circuit_breaker import Breaker
from keys.hsm_errors import HsmThrottled, HsmUnavailable

PAUSES = [None, Pause(0.05, (1.0, 1.5)), Pause(1.0, doubles=False), Pause(3600.0)]


class Clock:
    """Seconds, which go by in calls and pauses alone."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    async def asleep(self, seconds):
        self.now += seconds


class OneAnswer:
    """A judge that says the same of every failure."""

    service, errors, too_late = "test", (TimeoutError,), HsmThrottled

    def __init__(self, pause):
        self.pause = pause

    def __call__(self, error, *, is_cut_short, last):
        return Verdict(HsmUnavailable(), Health.UNKNOWN, "", self.pause)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(calling, "time", clock)
    monkeypatch.setattr(calling, "asyncio", SimpleNamespace(timeout=asyncio.timeout, sleep=clock.asleep))
    return clock


class Silent:
    """An HSM that lets every try wait for all the time that it has."""

    def __init__(self, clock):
        self.clock, self.tries = clock, []

    def answer(self, seconds):
        self.tries.append(seconds)
        self.clock.sleep(seconds)
        raise TimeoutError

    async def answer_later(self, client, seconds):
        self.answer(seconds)

    @asynccontextmanager
    async def place(self, seconds):
        yield None


def test_every_bound_leaves_room_below_five_seconds():
    assert SHORTEST_TRY < TRY_SECONDS < TOTAL_SECONDS <= 4.5


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("is_blocking", [True, False])
@pytest.mark.parametrize("least", [0.0, 1.0, 3.0])
def test_silence_ends_in_time_however_long_the_pauses_and_what_went_before(clock, pause, is_blocking, least):
    hsm, began = Silent(clock), clock.now
    course = Course(Breaker("test", clock=clock.monotonic), "sign", OneAnswer(pause))
    clock.sleep(least)  # in the queue
    with pytest.raises(HsmUnavailable):
        if is_blocking:
            calling.run_blocking(course, hsm.answer)
        else:
            asyncio.run(calling.run(course, hsm.answer_later, hsm.place))
    assert clock.now - began <= TOTAL_SECONDS
    assert 1 <= len(hsm.tries) <= TRIES
    assert max(hsm.tries) <= TRY_SECONDS


def test_nothing_is_called_when_no_time_is_left_for_a_try(clock):
    hsm = Silent(clock)
    course = Course(Breaker("test", clock=clock.monotonic), "sign", OneAnswer(None))
    clock.sleep(TOTAL_SECONDS - SHORTEST_TRY / 2)
    with pytest.raises(HsmThrottled):
        calling.run_blocking(course, hsm.answer)
    assert hsm.tries == []


def test_several_calls_within_a_time_share_it(clock):
    hsm, began = Silent(clock), clock.now
    with within(2.0):
        for _ in range(3):
            with pytest.raises((HsmUnavailable, HsmThrottled)):
                calling.run_blocking(Course(Breaker("t", clock=clock.monotonic), "x", OneAnswer(PAUSES[1])), hsm.answer)
    assert clock.now - began <= 2.0


def test_an_open_breaker_refuses_without_a_call(clock):
    breaker, hsm = Breaker("test", clock=clock.monotonic), Silent(clock)
    while not breaker.is_open:
        breaker.failed()
    with pytest.raises(HsmUnavailable):
        calling.run_blocking(Course(breaker, "sign", OneAnswer(None)), hsm.answer)
    assert hsm.tries == []
