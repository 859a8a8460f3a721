"""Replies on outbound relays: what is remembered until one of them says OK (threats T11, T15)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async

from bunker.models import Request, RequestState
from bunker.relays.interfaces import Publication, PublishState
from tests.bunker.conftest import connected
from tests.bunker.support import Client, FakePool, Home, issue

RELAY = "wss://relay.example"


class SlowPool(FakePool):
    """Outbound relays that answer when the test says so."""

    def __init__(self, limit: int = 65_536) -> None:
        super().__init__()
        self.limit = limit
        self.sent: list[tuple[Publication, Any]] = []

    def publish(self, event: Any, raw: bytes, relays: Any, *, expires_at: float, on_settled: Any = None) -> Any:
        publication = Publication(event.id, expires_at, dict.fromkeys(relays, PublishState.PENDING))
        self.sent.append((publication, on_settled))
        return publication

    def fits(self, size: int, relays: Any) -> bool:
        return size <= self.limit

    def settle(self, state: PublishState) -> None:
        for publication, on_settled in self.sent:
            publication.states = dict.fromkeys(publication.states, state)
            on_settled(publication)
        self.sent.clear()


async def _ask(running: Any, client: Any, name: str) -> Request:
    note = json.dumps({"kind": 1, "content": name, "tags": [], "created_at": 1})
    event_id, raw = client.compose("sign_event", [note], name)
    running[1].send(raw, RELAY)
    await client.next()
    return await Request.objects.aget(event_id=event_id)


async def test_a_reply_is_unpublished_until_a_relay_accepts_it(start_worker: Callable[..., Any], home: Home) -> None:
    pool = SlowPool()
    async with start_worker(pool=pool) as running:
        client = await connected(running, home, relays=[RELAY])
        async with asyncio.timeout(5):
            while pool.wanted != {RELAY: {home.transport.public_key}}:
                await asyncio.sleep(0.01)
        pool.settle(PublishState.ACCEPTED)
        refused = await _ask(running, client, "refused")
        assert refused.state == RequestState.ANSWERED
        pool.settle(PublishState.REFUSED)
        accepted = await _ask(running, client, "accepted")
        assert accepted.event_id in running[0].engine.parts.delivery._publisher.pending
        pool.settle(PublishState.ACCEPTED)
        await asyncio.sleep(0.6)
        assert (await Request.objects.aget(event_id=refused.event_id)).state == RequestState.ABANDONED
        assert (await Request.objects.aget(event_id=accepted.event_id)).state == RequestState.PUBLISHED


async def test_an_unpublished_reply_is_sent_by_the_next_worker(start_worker: Callable[..., Any], home: Home) -> None:
    async with start_worker(pool=SlowPool()) as running:
        client = await connected(running, home, relays=[RELAY])
        row = await _ask(running, client, "waiting")
    pool = SlowPool()
    async with start_worker(pool=pool) as running:
        while not pool.sent:
            await asyncio.sleep(0.02)
        assert [publication.event_id for publication, _ in pool.sent] == [_id(row.reply)]
        pool.settle(PublishState.ACCEPTED)
        await asyncio.sleep(0.6)
    assert (await Request.objects.aget(event_id=row.event_id)).state == RequestState.PUBLISHED


async def test_a_reply_too_large_for_the_relay_becomes_an_error(start_worker: Callable[..., Any], home: Home) -> None:
    async with start_worker(pool=SlowPool(limit=2_000)) as running:
        client = await connected(running, home, relays=[RELAY])
        _, raw = client.compose("sign_event", ['{"kind":1,"content":"%s","tags":[],"created_at":1}' % ("x" * 2_000)])
        running[1].send(raw, RELAY)
        assert "too large" in (await client.next())["error"]


def _id(reply: str) -> str:
    return reply.split('"id":"')[1][:64]


async def test_a_stranger_hears_why_on_the_relay_it_came_by(start_worker: Callable[..., Any], home: Home) -> None:
    pool = SlowPool()
    async with start_worker(pool=pool) as running:
        await sync_to_async(issue)(home, "full")
        await running[0].reconciler.look()
        stranger = Client(running[1], home.transport.public_key)
        running[1].send(stranger.compose("connect", [home.transport.public_key, "wrong"], "c1")[1], RELAY)
        assert "secret" in (await stranger.next())["error"]
    assert [list(publication.states) for publication, _ in pool.sent] == [[RELAY]]
