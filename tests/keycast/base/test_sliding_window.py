"""So often in any stretch of time, wherever it begins."""

from __future__ import annotations

import random

import pytest

from keycast.base.sliding_window import SlidingWindow


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_minute_has_more_wherever_it_begins() -> None:
    clock, chance = Clock(), random.Random(7)  # noqa: S311
    window = SlidingWindow(10, 60.0, clock)
    taken = []
    for _ in range(2_000):
        clock.now += chance.random() * 8
        if window.take():
            taken.append(clock.now)
    assert len(taken) > 100
    assert max(sum(begin <= at < begin + 60 for at in taken) for begin in taken) == 10


def test_what_is_refused_counts_for_nothing() -> None:
    clock = Clock()
    window = SlidingWindow(2, 60.0, clock)
    assert [window.take() for _ in range(5)] == [True, True, False, False, False]
    clock.now += 59.9
    assert not window.take()
    clock.now += 0.1
    assert [window.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("most", [1, 5])
def test_another_bound_counts_what_happened_before_it(most: int) -> None:
    clock = Clock()
    before = SlidingWindow(3, 60.0, clock)
    assert all(before.take() for _ in range(3))
    after = SlidingWindow(most, 60.0, clock)
    after.inherit(before)
    assert [after.take() for _ in range(3)] == ([False] * 3 if most == 1 else [True, True, False])
