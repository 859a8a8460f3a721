"""Turns in the queue, and the bound on what one client has under way (threats F1, F3, F5)."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker.worker import fairness
from bunker.worker.fairness import ClientShare, FairQueue
from keycast.base.seen_ids import SeenIds

Client = tuple[str, str]


def test_a_full_share_is_refused_and_others_still_come_in() -> None:
    queue: FairQueue[str] = FairQueue(capacity=5, per_tenant=3, per_client=2, at_once=9)
    assert [queue.offer("a", "x", "1"), queue.offer("a", "x", "2"), queue.offer("a", "x", "3")] == [True, True, False]
    assert [queue.offer("a", "y", "4"), queue.offer("a", "z", "5")] == [True, False]
    assert [queue.offer("b", "x", "6"), queue.offer("c", "x", "7"), queue.offer("d", "x", "8")] == [True, True, False]
    assert len(queue) == 5


def test_a_client_with_too_many_bytes_is_refused_and_leaves_nothing_behind() -> None:
    queue: FairQueue[str] = FairQueue(100, 100, 100, 9, most_bytes=60)
    assert not queue.offer("a", "x", "large", 11)
    assert (queue.size, queue.bytes, queue._clients, queue._tenants) == (0, 0, {}, {})
    assert [queue.offer("a", client, "", 10) for client in "xyzw"] == [True, True, True, False]
    assert [queue.offer("b", client, "", 10) for client in "xyzw"] == [True, True, True, False]
    assert queue.bytes == 60


def test_tenants_take_turns_and_so_do_clients() -> None:
    queue: FairQueue[str] = FairQueue(100, 100, 100, 9)
    for number in range(3):
        queue.offer("noisy", "x", f"x{number}")
    queue.offer("noisy", "y", "y0")
    queue.offer("quiet", "z", "z0")
    assert [queue.take()[0] for _ in range(5)] == ["x0", "z0", "y0", "x1", "x2"]
    with pytest.raises(IndexError):
        queue.take()


def test_a_client_at_its_bound_waits_in_its_order_and_others_go_first() -> None:
    queue: FairQueue[str] = FairQueue(100, 100, 100, at_once=2)
    first, second = queue.enter("a", "x"), queue.enter("a", "x")
    assert first is second is not None
    assert queue.enter("a", "x") is None
    assert [queue.offer("a", "x", f"x{number}") for number in range(3)] == [True] * 3
    assert not queue.is_ready
    assert queue.enter("a", "y")  # its neighbour, at once
    assert queue.enter("b", "x")  # a client of the same name elsewhere: another one
    queue.leave(first)
    assert queue.is_ready
    assert queue.enter("a", "z") is None  # nobody overtakes what may go
    queue.offer("a", "z", "z0")
    assert [queue.take()[0], queue.take()[0]] == ["x0", "z0"]
    assert not queue.is_ready
    assert len(queue) == 2


class Worker:
    """Asks a queue as admission does, with ``room`` for so many items, and checks what the queue promises."""

    def __init__(self, room: int, at_once: int, capacity: int = 40, per_client: int = 12) -> None:
        self.queue: FairQueue[int] = FairQueue(capacity, capacity, per_client, at_once)
        self.room, self.at_once, self.per_client = room, at_once, per_client
        self.under_way: list[tuple[Client, ClientShare[int]]] = []
        self.waiting: defaultdict[Client, list[int]] = defaultdict(list)
        self.passed: defaultdict[object, Counter[object]] = defaultdict(Counter)
        self.asked = self.started = self.refused = 0

    def may_go(self, client: Client) -> bool:
        return bool(self.waiting[client]) and self.count(client) < self.at_once

    def count(self, client: Client) -> int:
        return sum(whose == client for whose, _ in self.under_way)

    def ask(self, client: Client) -> None:
        self.asked += 1
        share = self.queue.enter(*client) if len(self.under_way) < self.room else None
        if share is not None:
            assert not self.waiting[client], "it overtook an earlier one of its own"
            self.start(client, share)
        elif self.queue.offer(*client, self.asked, 1):
            self.waiting[client].append(self.asked)
        else:
            self.refused += 1
            assert self.queue.size == self.queue.capacity or len(self.waiting[client]) == self.per_client
        self.check()

    def end(self, place: int) -> None:
        _, share = self.under_way.pop(place % len(self.under_way))
        self.queue.leave(share)
        while self.queue.is_ready and len(self.under_way) < self.room:
            ready = [client for client in self.waiting if self.may_go(client)]
            item, share = self.queue.take()
            client = share.key
            assert self.waiting[client].pop(0) == item, "not in its order"
            self.note_turn(client, [other for other in ready if other[0] == client[0]])
            self.note_turn(client[0], list({tenant for tenant, _ in ready}))
            self.start(client, share)
        self.check()

    def start(self, client: Client, share: ClientShare[int]) -> None:
        self.under_way.append((client, share))
        self.started += 1

    def note_turn(self, whose: object, ready: list[Any]) -> None:
        """Nobody has two turns while another that may go has none: the bound on anybody's wait."""
        self.passed.pop(whose, None)
        for other in ready:
            if other != whose:
                self.passed[other][whose] += 1
                assert self.passed[other][whose] == 1, f"{whose} went twice before {other}"

    def check(self) -> None:
        clients = {client for client, _ in self.under_way} | {client for client, items in self.waiting.items() if items}
        assert all(self.count(client) <= self.at_once for client in clients)
        assert self.queue.is_ready == any(self.may_go(client) for client in clients)
        assert len(self.under_way) == self.room or not self.queue.is_ready, "a free place, and somebody waits for it"
        assert self.queue.size == self.queue.bytes == sum(map(len, self.waiting.values()))
        assert self.queue._clients.keys() == clients, "it remembers whom it has nothing of"


STEP = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from("ab"), st.sampled_from("wxyz")),
    st.tuples(st.just("ask"), st.just("a"), st.just("w")),  # somebody who asks as much as may be
    st.tuples(st.just("end"), st.integers(0, 30)),
)


@given(st.integers(1, 6), st.integers(1, 4), st.lists(STEP, max_size=120))
def test_whatever_is_asked_and_ends_nobody_is_overtaken_starved_or_lost(
    room: int, at_once: int, steps: list[tuple[Any, ...]]
) -> None:
    worker = Worker(room, at_once)
    for what, *rest in steps:
        if what == "ask":
            worker.ask((rest[0], rest[1]))
        elif worker.under_way:
            worker.end(rest[0])
    while worker.under_way:
        worker.end(0)
    assert worker.started + worker.refused == worker.asked
    assert (worker.queue.size, worker.queue.bytes) == (0, 0)
    assert not worker.queue._clients
    assert not worker.queue._tenants
    assert not worker.queue._turns


def lines_of(work: Callable[[], object]) -> int:
    """How many lines of the queue's module ``work`` has executed."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != fairness.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_a_turn_costs_the_same_however_many_are_at_their_bound() -> None:
    costs = set()
    for parked in (2, 1_000):
        queue: FairQueue[str] = FairQueue(10_000, 10_000, 100, at_once=1)
        shares = [queue.enter("a", f"parked {number}") for number in range(parked)]
        assert all(queue.offer("a", f"parked {number}", "later") for number in range(parked))

        def turn(queue: FairQueue[str] = queue, shares: list[Any] = shares) -> None:
            share = queue.enter("a", "quiet")
            queue.offer("a", "quiet", "next")
            assert share
            queue.leave(share)
            assert queue.take()[0] == "next"
            queue.leave(shares[0])
            queue.take()

        costs.add(lines_of(turn))
    assert len(costs) == 1


def test_recent_ids_are_bounded() -> None:
    recent = SeenIds(2)
    for event_id in "abcde":
        recent.add(event_id)
    assert "e" in recent
    assert "a" not in recent
    recent.discard("e")
    assert "e" not in recent
