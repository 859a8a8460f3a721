"""Signatures a day: refused in memory, counted for everybody, kept over restarts, never far beyond the bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from accounts.models import TenantDay
from accounts.services import set_quotas
from bunker.worker.daily_quota import DailyQuota
from bunker.worker.records import TenantRecord
from keycast.audit.models import AuditRow
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Home, make_home, make_tenant, unscoped

DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 20_000.0 * DAY

    def __call__(self) -> float:
        return self.now


async def directly(work: Callable[[], Any]) -> Any:
    return await sync_to_async(work)()


def signed_today(home: Home) -> int:
    with unscoped():
        return sum(TenantDay.objects.filter(tenant=home.tenant).values_list("signatures", flat=True))


def record(limit: int | None = 2) -> TenantRecord:
    return TenantRecord(uuid4(), "a" * 32, None, limit)


def test_nothing_is_left_when_all_is_taken_until_the_next_day() -> None:
    clock, tenant = Clock(), record(2)
    days = DailyQuota(lambda: [tenant], directly, clock)
    assert [days.take(tenant) for _ in range(3)] == [True, True, False]
    clock.now += DAY
    assert days.take(tenant)


def test_a_reservation_that_was_not_signed_is_returned_to_the_daily_quota() -> None:
    tenant = record(1)
    days = DailyQuota(lambda: [tenant], directly, Clock())
    assert days.take(tenant)
    days.settle(tenant, is_signed=False)
    assert days.take(tenant)
    days.settle(tenant, is_signed=True)
    assert not days.take(tenant)


def test_no_bound_bounds_nothing_and_none_at_all_allows_nothing() -> None:
    days = DailyQuota(list, directly, Clock())
    free, barred = record(None), record(0)
    assert all(days.take(free) for _ in range(1000))
    assert not days.take(barred)


async def test_what_the_database_would_not_take_is_written_later(transactional_db: None) -> None:
    home = await sync_to_async(make_home)()
    tenant = TenantRecord(home.tenant.id, home.tenant.id.hex, None, 10)
    is_away = True

    async def execute(work: Callable[[], Any]) -> Any:
        if is_away:
            raise OperationalError
        return await directly(work)

    days = DailyQuota(lambda: [tenant], execute)
    assert days.take(tenant)
    days.settle(tenant, is_signed=True)
    with pytest.raises(OperationalError):
        await days.flush()
    is_away = False
    await days.flush()
    await days.flush()
    assert await sync_to_async(signed_today)(home) == 1


async def test_two_workers_share_a_day(transactional_db: None) -> None:
    home = await sync_to_async(make_home)()
    here, there = (TenantRecord(home.tenant.id, home.tenant.id.hex, None, 3) for _ in range(2))
    one, two = DailyQuota(lambda: [here], directly), DailyQuota(lambda: [there], directly)
    for days, tenant in ((one, here), (two, there)):
        assert days.take(tenant)
        days.settle(tenant, is_signed=True)
    for _ in range(2):
        await asyncio.gather(one.flush(), two.flush())
    assert one.take(here)
    assert not one.take(here)
    assert await sync_to_async(signed_today)(home) == 2


async def test_beyond_the_days_signatures_the_client_hears_why_and_nothing_is_signed(
    worker: Running, home: Home
) -> None:
    client = await connected(worker, home)
    await sync_to_async(set_quotas)(actor=ACTOR, tenant=home.tenant, signatures=2)
    await worker[0].reconciler.look()
    answers = [await client.sign(f"note {number}") for number in range(4)]
    assert ["error" in answer for answer in answers] == [False, False, True, True]
    assert "midnight UTC" in answers[2]["error"]
    assert "error" not in await client.ask("nip44_encrypt", client.public_key, "still private")
    refused = AuditRow.objects.filter(tag__startswith="bunker:sign_event", outcome="denied")
    assert await sync_to_async(refused.count)() == 2

    await sync_to_async(set_quotas)(actor=ACTOR, tenant=home.tenant, signatures=None)
    await worker[0].reconciler.look()
    assert "error" not in await client.sign()


async def test_concurrent_requests_never_exceed_the_daily_quota(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    await sync_to_async(set_quotas)(actor=ACTOR, tenant=home.tenant, signatures=7)
    await worker[0].reconciler.look()
    template = '{"kind":1,"content":"x","tags":[],"created_at":1700000000}'
    for number in range(50):
        client.port.send(client.compose("sign_event", [template], f"r{number}")[1])
    answers = [await client.next() for _ in range(50)]
    assert sum("error" not in answer for answer in answers) == 7


async def test_a_restart_does_not_begin_the_day_anew(home: Home, start_worker: Any) -> None:
    await sync_to_async(set_quotas)(actor=ACTOR, tenant=home.tenant, signatures=3)
    async with start_worker() as running:
        client = await connected(running, home)
        for _ in range(2):
            assert "error" not in await client.sign()
        secret = client.secret
    assert await sync_to_async(signed_today)(home) == 2
    async with start_worker() as running:
        client = type(client)(running[1], home.transport.public_key, secret)
        assert "error" not in await client.sign("third")
        assert "error" in await client.sign("fourth")


async def test_each_tenant_has_a_day_of_its_own(worker: Running, home: Home) -> None:
    other = await sync_to_async(lambda: make_home(make_tenant()))()
    noisy, quiet = await connected(worker, home), await connected(worker, other)
    await sync_to_async(set_quotas)(actor=ACTOR, tenant=home.tenant, signatures=0)
    await worker[0].reconciler.look()
    assert "error" in await noisy.sign()
    assert "error" not in await quiet.sign()
    await worker[0]._daily_quota.flush()
    assert await sync_to_async(signed_today)(other) == 1
    with unscoped():
        row = await sync_to_async(TenantDay.objects.get)(tenant=other.tenant)
    assert row.day == timezone.now().date()
