"""Turns in the queue (threats F1, F3, F5)."""

from __future__ import annotations

import pytest

from bunker.worker.fairness import FairQueue
from keycast.base.seen_ids import SeenIds


def test_a_full_share_is_refused_and_others_still_come_in() -> None:
    queue: FairQueue[str] = FairQueue(capacity=5, per_tenant=3, per_client=2)
    assert [queue.offer("a", "x", "1"), queue.offer("a", "x", "2"), queue.offer("a", "x", "3")] == [True, True, False]
    assert [queue.offer("a", "y", "4"), queue.offer("a", "z", "5")] == [True, False]
    assert [queue.offer("b", "x", "6"), queue.offer("c", "x", "7"), queue.offer("d", "x", "8")] == [True, True, False]
    assert len(queue) == 5


def test_tenants_take_turns_and_so_do_clients() -> None:
    queue: FairQueue[str] = FairQueue(100, 100, 100)
    for number in range(3):
        queue.offer("noisy", "x", f"x{number}")
    queue.offer("noisy", "y", "y0")
    queue.offer("quiet", "z", "z0")
    assert [queue.take() for _ in range(5)] == ["x0", "z0", "y0", "x1", "x2"]
    with pytest.raises(IndexError):
        queue.take()


def test_recent_ids_are_bounded() -> None:
    recent = SeenIds(2)
    for event_id in "abcde":
        recent.add(event_id)
    assert "e" in recent
    assert "a" not in recent
    recent.discard("e")
    assert "e" not in recent
