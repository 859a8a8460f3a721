"""Who serves which shard, and what becomes of a worker that lost its lease (threats R3, R5)."""

from __future__ import annotations

import socket

import pytest

from bunker.models import ShardLease, WorkerSeat
from bunker.worker import leases
from bunker.worker.leases import (
    AnotherWorkerRunning,
    HeldLeases,
    beat,
    give_back,
    now_ms,
    register_worker,
    release_leases,
)
from keys import SHARDS

pytestmark = pytest.mark.django_db(transaction=True)
A, B = "a" * 16, "b" * 16


def alive_elsewhere(worker_id: str) -> None:
    WorkerSeat.objects.filter(id=worker_id).update(host="elsewhere", pid=1)


def test_a_second_worker_is_refused_while_the_first_one_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    register_worker(A, exclusive=True)
    beat(A, {})
    alive_elsewhere(A)

    def beats_on(seconds: float) -> None:
        WorkerSeat.objects.filter(id=A).update(seen_at=now_ms())
        ShardLease.objects.update(expires_at=now_ms() + leases.TTL_MS)

    monkeypatch.setattr(leases.time, "sleep", beats_on)
    with pytest.raises(AnotherWorkerRunning, match="process 1 on elsewhere"):
        register_worker(B, exclusive=True)
    assert not WorkerSeat.objects.filter(id=B).exists()


def test_a_dead_predecessor_on_this_host_is_replaced_at_once() -> None:
    register_worker(A, exclusive=True)
    before = beat(A, {}).fences
    WorkerSeat.objects.filter(id=A).update(host=socket.gethostname(), pid=2**22 - 3)
    register_worker(B, exclusive=True, wait=0.1)
    turn = beat(B, {})
    assert turn.gained == set(range(SHARDS))
    assert set(turn.orphaned) == set(range(SHARDS))
    assert all(turn.fences[shard] == fence + 1 for shard, fence in before.items())


def test_a_lease_that_was_given_back_leaves_nothing_to_repeat() -> None:
    register_worker(A, exclusive=True)
    beat(A, {})
    release_leases(A)
    register_worker(B, exclusive=True)
    turn = beat(B, {})
    assert len(turn.gained) == SHARDS
    assert not turn.orphaned


def test_two_workers_come_to_a_fair_share() -> None:
    register_worker(A, exclusive=False)
    assert len(beat(A, {}).fences) == SHARDS
    register_worker(B, exclusive=False)
    assert not beat(B, {}).fences
    turn = beat(A, {})
    assert len(turn.excess) == SHARDS // 2
    give_back(A, turn.excess)
    assert beat(B, {}).gained == turn.excess
    assert not beat(A, {}).excess


def test_a_lease_that_ran_out_goes_to_whoever_lives() -> None:
    register_worker(A, exclusive=False)
    beat(A, {})
    register_worker(B, exclusive=False)
    WorkerSeat.objects.filter(id=A).update(seen_at=now_ms() - 10_000)
    ShardLease.objects.update(expires_at=now_ms() - 1)
    assert len(beat(B, {}).gained) == SHARDS
    assert not beat(A, {}).fences


def test_a_worker_stops_by_its_own_clock_before_its_lease_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    holding = HeldLeases()
    now = 1000.0
    monkeypatch.setattr(leases.time, "monotonic", lambda: now)
    holding.renew({3: 7}, now)
    assert (holding.fence(3), holding.fence(4)) == (7, 0)
    holding.hold_back({3})
    assert (holding.fence(3), holding.fence_to_finish(3)) == (0, 7)
    holding.admit({3})
    now += leases.TTL_MS / 1000 - 0.5
    assert (holding.fence(3), holding.fence_to_finish(3), holding.shards()) == (0, 0, [])
