"""Floods: strangers cost no write, a noisy client costs others little, a full queue says so (F1, F2, F3, F5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings

from bunker.models import Request
from bunker.worker.admission import AdmissionLimits
from keycast.audit.models import AuditRow
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Client, FakePort, Home, issue, make_home

NOTE = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})


async def rows() -> tuple[int, int]:
    return await Request.objects.acount(), await AuditRow.objects.acount()


async def idle(running: Running) -> None:
    while running[0].stats.in_flight or running[0].stats.queued:
        await asyncio.sleep(0.005)


async def sign_often(client: Client, times: int) -> None:
    for _ in range(times):
        assert "error" not in await client.sign()


async def test_strangers_without_an_open_pairing_open_few_transport_keys_and_write_nothing(
    start_worker: Callable[..., Any], home: Home, settings: Any
) -> None:
    settings.BUNKER_LIMITS = {"not_pairing_rate": 0.001, "not_pairing_burst": 20}
    async with start_worker() as worker:
        known = await connected(worker, home)
        before = await rows()
        strangers = [Client(worker[1], home.transport.public_key) for _ in range(100)]
        opened = worker[0].engine.parts.envelopes.transports.open
        asked = 0

        async def counted(*given: Any) -> Any:
            nonlocal asked
            asked += 1
            return await opened(*given)

        worker[0].engine.parts.envelopes.transports.open = counted
        try:
            for stranger in strangers:
                for method, params in (("connect", [home.transport.public_key, "0" * 32]), ("sign_event", [NOTE])):
                    worker[1].send(stranger.compose(method, params)[1])
            await idle(worker)
        finally:
            worker[0].engine.parts.envelopes.transports.open = opened
        assert asked == 2 * 20  # to read the request, and to say no
        assert await rows() == before
        assert worker[0].stats.drops["stranger-rate"] == 180
        assert "error" not in await known.sign()


async def test_strangers_while_pairing_is_open_cause_a_bounded_number_of_writes(
    start_worker: Callable[..., Any], home: Home
) -> None:
    async with start_worker(limits=AdmissionLimits(signer_stranger_rate=0.001)) as worker:
        known = await connected(worker, home)
        await sync_to_async(issue)(home)
        await worker[0].reconciler.look()
        before = await rows()
        strangers = [Client(worker[1], home.transport.public_key) for _ in range(150)]
        for stranger in strangers:
            worker[1].send(stranger.compose("connect", [home.transport.public_key, "0" * 32])[1])
        await idle(worker)
        requests, audit = await rows()
        assert requests == before[0]
        assert audit - before[1] <= settings.BUNKER_PAIRING_FAILURES + 1  # a row each, then one for all that come
        assert worker[0].stats.drops["stranger-rate"] >= 150 - AdmissionLimits().signer_stranger_burst
        assert "error" not in await known.sign()


async def test_a_client_above_its_rate_leaves_others_alone(start_worker: Callable[..., Any], home: Home) -> None:
    other = await sync_to_async(make_home)()
    async with start_worker(limits=AdmissionLimits(client_rate=0.001, client_burst=100)) as running:
        quiet, noisy = await connected(running, other), await connected(running, home)
        raws = [noisy.compose("sign_event", [NOTE])[1] for _ in range(400)]
        flood = asyncio.create_task(_drip(running[1], raws))
        await sign_often(quiet, 15)
        await flood
        await idle(running)
        await sign_often(quiet, 15)
        assert running[0].stats.signed <= 30 + 101
        assert running[0].stats.drops["rate-limited"] >= 299


async def _drip(port: FakePort, raws: list[bytes]) -> None:
    for number, raw in enumerate(raws):
        port.send(raw)
        if number % 10 == 9:
            await asyncio.sleep(0.001)


async def test_a_full_queue_says_so_to_known_clients_and_other_tenants_still_get_in(
    start_worker: Callable[..., Any], home: Home
) -> None:
    other = await sync_to_async(make_home)()
    limits = AdmissionLimits(in_flight=2, queue=30, queue_per_tenant=10, queue_per_client=10)
    async with start_worker(limits=limits) as running:
        quiet, noisy = await connected(running, other), await connected(running, home)
        raws = [noisy.compose("sign_event", [NOTE])[1] for _ in range(40)]
        for raw in raws:
            running[1].send(raw)
        running[1].send(quiet.compose("sign_event", [NOTE])[1])
        assert "error" not in await quiet.next()
        answers = [await noisy.next() for _ in range(40)]
        busy = [answer for answer in answers if "busy" in answer.get("error", "")]
        assert len(busy) == 40 - 12
        assert running[0].stats.signed == 12 + 1


async def test_a_burst_as_long_as_documented_is_answered_and_another_app_is_not_last(
    worker: Running, home: Home
) -> None:
    noisy, quiet = await connected(worker, home), await connected(worker, home)
    for number in range(1_000):
        worker[1].send(noisy.compose("sign_event", [NOTE], f"n{number}")[1])
    assert "error" not in await quiet.sign()
    still_waiting = worker[0].stats.queued
    assert not [answer for answer in [await noisy.next() for _ in range(1_000)] if "error" in answer]
    assert still_waiting > 0
