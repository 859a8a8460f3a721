"""Which worker serves which signers: 64 shards, each leased with a fencing token (ShardLease), renewed every second.

The database decides: a lease changes hands only after it ran out or was given back, and every change raises its fence.
Writers check the fence in the transaction that stores a result, so a worker that slept through its lease can finish
nothing. Its own monotonic clock makes it stop asking even earlier.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import F

from bunker.models import ShardLease, WorkerSeat
from keys import SHARDS

log = structlog.get_logger(__name__)

# A heartbeat or two may be lost before a worker loses its shards (runtime.BEAT_SECONDS is one); those of a dead one
# are served again within five seconds.
TTL_MS = 4_000
WORKER_FORGOTTEN_MS = 60_000


class AnotherWorkerRunning(Exception):
    """The embedded shape (SQLite) has one worker; the message says which one holds the lease."""


@dataclass(slots=True)
class LeaseChanges:
    """What one heartbeat changed: shards gained and shards to give back, and the fences now held.

    ``orphaned`` are those gained whose owner did not give them back, with the time (ms) it was last alive.
    """

    fences: dict[int, int] = field(default_factory=dict)
    gained: set[int] = field(default_factory=set)
    orphaned: dict[int, int] = field(default_factory=dict)
    excess: set[int] = field(default_factory=set)
    workers: int = 1


def now_ms() -> int:
    """Unix time in milliseconds: the database server's where workers share it over a network, else this machine's."""
    if connection.vendor != "postgresql":
        return time.time_ns() // 1_000_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int(cursor.fetchone()[0])


def register_worker(worker_id: str, *, exclusive: bool, wait: float = TTL_MS / 1000 + 1) -> None:
    """Announce this worker. With ``exclusive``, refuse to be the second: raises AnotherWorkerRunning.

    A predecessor that died without giving back its lease is waited for, as long as its lease may live; one on this
    host whose process is gone is replaced at once.
    """
    if exclusive:
        _wait_for_free_seat(worker_id, time.monotonic() + wait)
    WorkerSeat.objects.update_or_create(
        id=worker_id, defaults={"host": socket.gethostname()[:255], "pid": os.getpid(), "seen_at": now_ms()}
    )
    ShardLease.objects.bulk_create([ShardLease(shard=shard) for shard in range(SHARDS)], ignore_conflicts=True)


def _wait_for_free_seat(worker_id: str, deadline: float) -> None:
    seen: dict[str, int] = {}
    while True:
        holders = set(
            ShardLease.objects.filter(expires_at__gt=now_ms())
            .exclude(owner__in=["", worker_id])
            .values_list("owner", flat=True)
        )
        seats = {seat.id: seat for seat in WorkerSeat.objects.filter(id__in=holders)}
        for holder in holders:
            seat = seats.get(holder)
            if seat is None or _has_died(seat):
                ShardLease.objects.filter(owner=holder).update(expires_at=now_ms() - 1)  # over, but not given back
                WorkerSeat.objects.filter(id=holder).delete()
            elif seen.setdefault(holder, seat.seen_at) != seat.seen_at or time.monotonic() > deadline:
                raise AnotherWorkerRunning(
                    f"Another bunker worker (process {seat.pid} on {seat.host}) serves this database. The embedded "
                    "shape has exactly one: stop the other, or use PostgreSQL to run several."
                )
        if not holders:
            return
        time.sleep(0.2)


def _has_died(seat: WorkerSeat) -> bool:
    if seat.host != socket.gethostname():
        return False
    if seat.pid == os.getpid():  # our own id: a predecessor in a container that always gives the same one
        return True
    try:
        os.kill(seat.pid, 0)
    except ProcessLookupError:
        return True
    # There is such a process, of another user.
    except PermissionError:
        return False
    return False


def beat(worker_id: str, status: dict[str, Any], *, is_leaving: bool = False) -> LeaseChanges:
    """Renew what is held, take what is free up to a fair share, and name what is held beyond it. Blocks."""
    with transaction.atomic():
        now = now_ms()
        WorkerSeat.objects.update_or_create(
            id=worker_id,
            defaults={"host": socket.gethostname()[:255], "pid": os.getpid(), "seen_at": now, "status": status},
        )
        WorkerSeat.objects.filter(seen_at__lt=now - WORKER_FORGOTTEN_MS).delete()
        workers = max(1, WorkerSeat.objects.filter(seen_at__gte=now - TTL_MS).count())
        # Always in this order, so that the heartbeats of two workers cannot wait for each other in a circle.
        leases = list(ShardLease.objects.select_for_update().order_by("shard"))
        turn = _turn(leases, worker_id, now, workers, is_leaving=is_leaving)
        held = list(turn.fences)
        ShardLease.objects.filter(shard__in=held, owner=worker_id).update(expires_at=now + TTL_MS)
        if turn.gained:
            ShardLease.objects.filter(shard__in=turn.gained).update(
                owner=worker_id, fence=F("fence") + 1, expires_at=now + TTL_MS
            )
    return turn


def _turn(leases: list[ShardLease], worker_id: str, now: int, workers: int, *, is_leaving: bool) -> LeaseChanges:
    turn = LeaseChanges(workers=workers)
    # Rounded up, or some shards would be nobody's where the workers do not divide them evenly.
    share = -(-SHARDS // workers)
    free = []
    for lease in leases:
        if lease.owner == worker_id:
            turn.fences[lease.shard] = lease.fence
        elif not lease.owner or lease.expires_at <= now:
            free.append(lease)
    if is_leaving:
        return turn
    for lease in free[: max(0, share - len(turn.fences))]:
        turn.gained.add(lease.shard)
        # Giving a lease back empties the owner: a name that still stands here is of one that died, perhaps with
        # replies stored and not sent.
        if lease.owner:
            turn.orphaned[lease.shard] = lease.expires_at - TTL_MS
        turn.fences[lease.shard] = lease.fence + 1
    # Sorted, so that every heartbeat names the same ones until they are given back; finishing what is under way in
    # them takes longer than one.
    turn.excess = set(sorted(turn.fences, reverse=True)[: max(0, len(turn.fences) - share)])
    return turn


def give_back(worker_id: str, shards: Collection[int] | None = None) -> None:
    """Free shards (None: all) at once, so that another worker need not wait for their leases to end. Blocks."""
    held = ShardLease.objects.filter(owner=worker_id)
    if shards is not None:
        held = held.filter(shard__in=shards)
    held.update(owner="", expires_at=0)


def release_leases(worker_id: str) -> None:
    """Give back everything and stand up. Blocks."""
    give_back(worker_id)
    WorkerSeat.objects.filter(id=worker_id).delete()


class HeldLeases:
    """The leases as the engine sees them: asked for each event, so two dictionary look-ups and a clock."""

    __slots__ = ("_fences", "_held_back", "_valid_until")

    def __init__(self) -> None:
        self._fences: dict[int, int] = {}
        self._held_back: set[int] = set()
        self._valid_until = 0.0

    def renew(self, fences: dict[int, int], asked_at: float) -> None:
        """Take over what a heartbeat, asked for at monotonic ``asked_at``, has confirmed."""
        self._fences = fences
        self._held_back &= set(fences)
        # Less than the database grants, and counted from before it was asked: whatever the answer's way or this
        # clock's drift, we stop before another worker can begin.
        self._valid_until = asked_at + (TTL_MS / 1000) * 0.8

    def hold_back(self, shards: Collection[int]) -> None:
        """Take nothing new for ``shards``: they are about to be given back, or not ready yet."""
        self._held_back |= set(shards)

    def admit(self, shards: Collection[int]) -> None:
        """Serve ``shards``, held back until now."""
        self._held_back -= set(shards)

    def drop_all(self) -> None:
        """Stop at once."""
        self._valid_until = 0.0

    def fence(self, shard: int) -> int:
        """The fencing token of a shard that may be served now; 0 when it may not."""
        if time.monotonic() >= self._valid_until or shard in self._held_back:
            return 0
        return self._fences.get(shard, 0)

    def fence_to_finish(self, shard: int) -> int:
        """As ``fence``, but also for a shard that is being given back: what was begun may be finished."""
        return self._fences.get(shard, 0) if time.monotonic() < self._valid_until else 0

    def servable(self) -> list[int]:
        """Shards for which requests are taken now."""
        return [shard for shard in self.shards() if shard not in self._held_back]

    def shards(self) -> list[int]:
        """Shards held now."""
        return sorted(self._fences) if time.monotonic() < self._valid_until else []
