"""Counting by minute and tenant, and writing it: exactly what was counted, whatever happens to the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from bunker.models import TrafficMinute, WorkerSeat
from bunker.traffic.counts import COLUMNS, EVERYONE, OTHER, REFUSED, SIGNED, USED
from bunker.worker import traffic_counter as module
from bunker.worker.traffic_counter import TrafficCounter, TrafficCounterWriter
from tests.bunker.conftest import connected
from tests.bunker.support import Home

A, B = "a" * 32, "b" * 32


def columns(row: list[int]) -> dict[str, int]:
    return {name: number for name, number in zip(COLUMNS, row, strict=True) if number}


async def directly(work: Callable[[], Any]) -> Any:
    return await sync_to_async(work)()


def test_an_idle_minute_leaves_nothing() -> None:
    tally = TrafficCounter(now=60)
    tally.turn(now=200)
    assert not tally.closed
    assert tally.unwritten() == []


def test_requests_are_counted_by_tenant_and_for_all() -> None:
    tally = TrafficCounter(now=60)
    tally.count(A, SIGNED, 0.0019)
    tally.count(A, REFUSED)
    tally.count(B, USED, 99.0)
    tally.turn(now=120)
    minute = tally.closed[0]
    assert columns(minute.tenants[A]) == {"signed": 1, "refused": 1, "ms_2": 1}
    assert columns(minute.tenants[B]) == {"used": 1, "ms_more": 1}
    assert columns(minute.everyone) == {"signed": 1, "refused": 1, "used": 1, "ms_2": 1, "ms_more": 1}
    assert [row[0] for row in tally.unwritten()] == [1]


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, "ms_1"), (0.001, "ms_1"), (0.0011, "ms_2"), (5.0001, "ms_more")])
def test_a_bound_belongs_to_its_bucket(seconds: float, bucket: str) -> None:
    tally = TrafficCounter(now=60)
    tally.count(A, SIGNED, seconds)
    tally.turn(now=60, is_last=True)
    assert bucket in columns(tally.closed[0].everyone)


def test_while_the_database_is_away_memory_stays_bounded() -> None:
    tally = TrafficCounter(now=0)
    for minute in range(1, 500):
        tally.count(A, OTHER)
        tally.turn(now=minute * 60)
    assert len(tally.closed) == module.MINUTES_KEPT


@pytest.mark.django_db(transaction=True)
async def test_what_could_not_be_written_is_written_later_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = TrafficCounter(now=60)
    tally.count(A, SIGNED, 0.001)
    tally.count(B, SIGNED, 0.001)
    tally.turn(now=120)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)
    calls = []

    async def failing(work: Callable[[], Any]) -> Any:
        calls.append(work)
        if len(calls) == 2:
            raise OperationalError("gone")
        return await directly(work)

    writer = TrafficCounterWriter("w", tally, failing)
    await writer.write()
    assert len(tally.closed) == 1
    await writer.write()
    assert not tally.closed
    assert await TrafficMinute.objects.acount() == 3
    assert (await TrafficMinute.objects.aget(tenant_id=EVERYONE)).signed == 2


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_hangs_does_not_keep_a_worker_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOPPING_SECONDS", 0.05)
    tally = TrafficCounter(now=60)
    tally.count(A, SIGNED)

    async def hanging(work: Callable[[], Any]) -> Any:
        await asyncio.Event().wait()

    await TrafficCounterWriter("w", tally, hanging).finish()
    assert len(tally.closed) == 1


async def test_a_workers_figures_survive_its_drain(start_worker: Any, home: Home) -> None:
    async with start_worker() as running:
        client = await connected(running, home)
        unsigned = '{"kind":1,"content":"hi","tags":[],"created_at":1700000000}'
        for _ in range(3):
            assert "result" in await client.ask("sign_event", unsigned)
        assert "result" in await client.ask("nip44_encrypt", client.public_key, "hi")
        assert "error" in await client.ask("sign_event", "nonsense")
        worker = running[0]
        await worker._beat()
        seat = await WorkerSeat.objects.aget(id=worker.id)
        told = seat.status["minutes"]
        assert sum(row[1 + SIGNED] for row in told) + await written("signed") == 3
    for tenant in (EVERYONE, home.tenant.id):
        rows = [row async for row in TrafficMinute.objects.filter(tenant_id=tenant)]
        assert sum(row.signed for row in rows) == 3
        assert sum(row.used for row in rows) == 1
        assert sum(row.refused for row in rows) == 1
        assert sum(row.other for row in rows) == 1  # connect
        assert sum(getattr(row, name) for row in rows for name in COLUMNS if name.startswith("ms_")) == 4


async def written(name: str) -> int:
    return sum([getattr(row, name) async for row in TrafficMinute.objects.filter(tenant_id=EVERYONE)])
