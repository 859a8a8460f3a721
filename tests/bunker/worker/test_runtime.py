"""The worker as a whole: one at a time on SQLite, drained on request, healthy by its seat (threats R2, R3, C15)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from bunker import services
from bunker.models import Request, RequestState, ShardLease, WorkerSeat
from bunker.worker import leases, runtime
from bunker.worker.leases import AnotherWorkerRunning
from bunker.worker.runtime import BunkerWorker
from keycast.audit.models import AuditRow
from keycast.base.metrics import BUNKER_REQUESTS
from keycast.crypto.schnorr import Keypair
from keycast.nostr.uris import NostrConnectUri
from tests import waiting
from tests.bunker.conftest import Running, connected
from tests.bunker.relays.double import Double, pool
from tests.bunker.relays.support import make_hub
from tests.bunker.support import ACTOR, Client, FakePool, FakePort, Home, unscoped
from tests.waiting import eventually


@pytest.mark.skipif(connection.vendor != "sqlite", reason="several workers are fine on PostgreSQL")
async def test_a_second_worker_is_refused_on_sqlite(worker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_has_died", lambda seat: False)
    with pytest.raises(AnotherWorkerRunning):
        await BunkerWorker(port=FakePort(), pool=FakePool()).run(asyncio.Event())
    assert worker[0].holding.shards()


async def test_stopping_finishes_what_was_begun_and_gives_back_the_leases(
    start_worker: Callable[..., Any], home: Home
) -> None:
    port = FakePort()
    async with start_worker(port) as running:
        client = await connected(running, home)
        template = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})
        for number in range(40):
            port.send(client.compose("sign_event", [template], f"n{number}")[1])
    assert len([await client.next() for _ in range(40)]) == 40
    assert not await ShardLease.objects.exclude(owner="").aexists()
    assert not await WorkerSeat.objects.aexists()


async def test_a_worker_beside_the_built_in_relay_gives_back_its_leases_too(
    start_worker: Callable[..., Any], home: Home
) -> None:
    async with start_worker(make_hub()):
        assert await ShardLease.objects.exclude(owner="").aexists()
    assert not await ShardLease.objects.exclude(owner="").aexists()
    assert not await WorkerSeat.objects.aexists()


async def test_a_second_signal_ends_the_wait_for_what_does_not_finish(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "DRAIN_SECONDS", 10 * waiting.LONG)
    worker, stop = BunkerWorker(port=FakePort(), pool=FakePool()), asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await worker.ready.wait()
    stuck = asyncio.Event()
    worker.gate._tasks[asyncio.create_task(stuck.wait())] = None  # type: ignore[arg-type,index]
    stop.set()
    worker.hurry()
    await asyncio.wait_for(task, waiting.LONG)


async def test_a_part_that_fails_ends_the_worker_after_a_drain(transactional_db: None) -> None:
    worker = BunkerWorker(port=FakePort(), pool=FakePool())

    async def fail() -> None:
        raise RuntimeError("broken part")

    worker.reconciler.run = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="broken part"):
        await worker.run(asyncio.Event())
    assert not await WorkerSeat.objects.aexists()


async def test_the_worker_heartbeat_holds_its_status(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    await client.sign()
    before = BUNKER_REQUESTS.labels("sign_event", "ok")._value.get()
    await worker[0]._beat()
    seat = await WorkerSeat.objects.aget()
    assert seat.status["signed"] == 1
    assert seat.status["answered"]["sign_event:ok"] == 1
    assert BUNKER_REQUESTS.labels("sign_event", "ok")._value.get() == before + 1


async def test_an_approved_nostrconnect_client_gets_its_secret_back(worker: Running, home: Home) -> None:
    client = Client(worker[1], home.transport.public_key)
    uri = NostrConnectUri.parse(
        f"nostrconnect://{client.public_key}?relay=wss%3A%2F%2F{home.tenant.slug}.localhost%2Frelay&secret=s3cr3t-of-the-client"
    )
    with unscoped():
        await sync_to_async(services.approve_nostrconnect)(actor=ACTOR, key=home.key, uri=uri, policy_slug="full")
    assert (await client.next())["result"] == "s3cr3t-of-the-client"
    assert (await client.ask("ping"))["result"] == "pong"
    await _answer_becomes(RequestState.PUBLISHED)


def _uri_over(relay: str) -> NostrConnectUri:
    url = quote(relay, safe="")
    return NostrConnectUri.parse(f"nostrconnect://{Keypair.generate()[0].public_key_hex}?relay={url}&secret=s3cr3t")


async def _answer_state() -> str:
    return (await Request.objects.aget(request_id__startswith="nostrconnect:")).state


async def _answer_becomes(state: RequestState) -> None:
    async with asyncio.timeout(waiting.LONG):
        while await _answer_state() != state:
            await asyncio.sleep(0.05)


async def test_a_nostrconnect_client_is_answered_over_a_relay_that_no_app_used_before(
    start_worker: Callable[..., Any], home: Home, settings: Any
) -> None:
    settings.RELAY_ALLOWED_PRIVATE_HOSTS = ["127.0.0.1"]
    relay = Double()
    async with relay.serving(), pool() as around, start_worker(pool=around.pool):
        with unscoped():
            await sync_to_async(services.approve_nostrconnect)(
                actor=ACTOR, key=home.key, uri=_uri_over(relay.url), policy_slug="full"
            )
        await eventually(lambda: bool(relay.asked("EVENT")))
        assert relay.asked("EVENT")[0][1]["pubkey"] == home.transport.public_key
        await _answer_becomes(RequestState.PUBLISHED)


async def test_an_answer_that_no_relay_takes_is_given_up_after_its_time(
    start_worker: Callable[..., Any], home: Home, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.RELAY_ALLOWED_PRIVATE_HOSTS = ["127.0.0.1"]
    monkeypatch.setattr("bunker.worker.publisher.REPLY_LIFETIME", 1.0)
    async with pool() as around, start_worker(pool=around.pool):
        with unscoped():
            await sync_to_async(services.approve_nostrconnect)(
                actor=ACTOR, key=home.key, uri=_uri_over("ws://127.0.0.1:1"), policy_slug="full"
            )
        assert await _answer_state() == RequestState.ANSWERED
        await _answer_becomes(RequestState.ABANDONED)


async def test_without_the_database_nothing_is_signed_and_the_client_hears_it(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    monkeypatch.setattr(worker[0].reconciler, "_looked_at", time.monotonic() - 60)
    monkeypatch.setattr(worker[0].reconciler, "is_stale", lambda: True)
    worker[0].engine.is_stale = lambda: True
    assert "unavailable" in (await client.sign())["error"]
    assert worker[0].stats.signed == 0


async def test_a_client_above_its_rate_is_told_to_slow_down(start_worker: Callable[..., Any], home: Home) -> None:
    from bunker.worker.admission import AdmissionLimits

    async with start_worker(limits=AdmissionLimits(client_rate=1, client_burst=5)) as running:
        client = await connected(running, home)
        for number in range(12):
            running[1].send(client.compose("ping", [], f"p{number}")[1])
        answers = [await client.next() for _ in range(12)]
    assert sum("error" not in answer for answer in answers) == 5
    assert {answer["error"] for answer in answers if "error" in answer} == {"Too many requests. Please slow down."}


async def test_a_request_that_fails_twice_unforeseen_is_given_up_and_its_client_told(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    tries = []

    async def break_down(*_: Any) -> None:
        tries.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(worker[0].engine.parts.key_requests.keys, "sign_event", break_down)
    template = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})
    raw = client.compose("sign_event", [template], "n1")[1]
    worker[1].send(raw)
    while not tries:
        await asyncio.sleep(0.01)
    for _ in range(3):
        await worker[0]._recovery.recover(range(64))
        await asyncio.sleep(0.2)
    assert "unavailable" in (await client.next())["error"].lower()
    assert len(tries) == 2
    assert (await Request.objects.aget(method="sign_event")).state == RequestState.PUBLISHED
    outcomes = [row.outcome async for row in AuditRow.objects.filter(tag="bunker:sign_event:request").order_by("id")]
    assert outcomes == ["intent", "unknown", "intent", "unknown"]
