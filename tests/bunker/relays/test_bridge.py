"""Web processes and workers apart: events cross the channel layer. Bounded, and gone only where that is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from bunker.relays import bridge
from bunker.relays.bridge import REQUESTS, GroupSendQueue, WebBridge, WorkerBridge
from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import DropReason
from bunker.relays.unserved import RetryQueue
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import CLIENT, TENANT, Out, Peer, Served, Sink, make_hub, reply, signed
from tests.waiting import eventually

ME = CLIENT.public_key_hex


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """A channel layer whose store can be away."""

    is_away = False

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.is_away:
            raise ConnectionError("the store is away, and this text is nobody's business")
        await super().group_send(group, message)


@pytest.fixture
def layer() -> Layer:
    return Layer()


@asynccontextmanager
async def web(layer: Layer) -> AsyncIterator[RelayHub]:
    hub = make_hub()
    side = WebBridge(hub, layer)
    task = asyncio.create_task(side.run())
    await eventually(lambda: len(layer.groups.get(bridge.REPLIES, {})) >= 1)
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def worker(layer: Layer, sink: Sink) -> AsyncIterator[WorkerBridge]:
    side = WorkerBridge(layer)
    side.served = Served()
    before = len(layer.groups.get(REQUESTS, {}))
    side.attach(sink)
    await eventually(lambda: len(layer.groups.get(REQUESTS, {})) > before)
    try:
        yield side
    finally:
        side.detach(sink)
        await side.flush()


async def test_what_the_store_loses_is_counted_and_the_next_event_passes(layer: Layer, monkeypatch: Any) -> None:
    monkeypatch.setattr(bridge, "PAUSE_SECONDS", 0.01)
    sink = Sink()
    async with web(layer) as hub, worker(layer, sink):
        layer.is_away = True
        Peer(hub).publish(signed(content="lost"))
        await asyncio.sleep(0.05)
        layer.is_away = False
        Peer(hub).publish(signed(content="found"))
        await eventually(lambda: sink.taken)
        assert [event.content for event, _, _ in sink.taken] == ["found"]


async def test_a_full_queue_refuses(layer: Layer, monkeypatch: Any) -> None:
    monkeypatch.setattr(bridge, "MOST_QUEUED", 2)
    out = GroupSendQueue("group", layer)
    assert [out.put(b"x") for _ in range(3)] == [True, True, False]
    assert out.lost == 1


async def test_what_is_not_an_event_is_dropped_on_both_sides(layer: Layer) -> None:
    sink = Sink()
    async with web(layer) as hub, worker(layer, sink) as side:
        for group in (bridge.REQUESTS, bridge.REPLIES):
            await layer.group_send(group, {"type": bridge.MESSAGE, "items": [b"{}", b"\xff"]})
        await eventually(lambda: side.intake.counters.misc["bridge-malformed"] == 2)
        await eventually(lambda: hub.intake.counters.misc["bridge-malformed"] == 2)


async def test_a_request_crosses_to_the_worker_and_the_reply_back_to_every_web_process(layer: Layer) -> None:
    sink = Sink()
    async with web(layer) as one, web(layer) as two, worker(layer, sink) as side:
        listeners = [Peer(one), Peer(two)]
        for listener in listeners:
            listener.subscribe(p=[ME])
        request = signed()
        assert Peer(one).publish(request)[0][2] is True
        await eventually(lambda: sink.taken)
        assert sink.taken == [(request, serialize(request), "built-in")]
        answer = reply()
        side.publish(answer, serialize(answer))
        for listener in listeners:
            await eventually(lambda peer=listener: peer.out.frames)
            assert listener.out.take()[0][2]["id"] == answer.id


async def test_every_worker_hears_of_a_request_and_the_one_with_the_lease_takes_it(layer: Layer) -> None:
    mine, theirs = Sink(), Sink(DropReason.NOT_READY)
    async with web(layer) as hub, worker(layer, mine), worker(layer, theirs):
        Peer(hub).publish(signed())
        await eventually(lambda: mine.taken)
        assert theirs.taken == []


async def test_a_lease_that_moves_finds_the_request_waiting(layer: Layer) -> None:
    sink = Sink(DropReason.NOT_READY)
    async with web(layer) as hub, worker(layer, sink) as side:
        side._patience._pauses = (0.05, 0.05)
        Peer(hub).publish(signed())
        await eventually(lambda: len(side._patience) == 1)
        sink.verdict = None
        await eventually(lambda: sink.taken)
        assert len(side._patience) == 0


async def test_an_event_that_could_not_be_claimed_may_come_again_through_the_web_process(layer: Layer) -> None:
    sink = Sink()
    async with web(layer) as hub, worker(layer, sink) as side:
        request, peer = signed(), Peer(hub)
        peer.publish(request)
        await eventually(lambda: sink.taken)
        assert peer.publish(request)[0][3].startswith("duplicate")
        await eventually(lambda: len(sink.taken) == 2)
        side.forget(request.id)
        await eventually(lambda: peer.publish(request)[0][3] == "")


async def test_after_detaching_nothing_is_taken_and_replies_still_leave(layer: Layer) -> None:
    sink = Sink()
    async with web(layer) as hub, worker(layer, sink) as side:
        listener = Peer(hub)
        listener.subscribe(p=[ME])
        side.detach(sink)
        Peer(hub).publish(signed())
        answer = reply()
        side.publish(answer, serialize(answer))
        await side.flush()
        await eventually(lambda: listener.out.frames)
        assert sink.taken == []


async def test_a_web_process_without_bridge_keeps_requests_until_there_is_one(layer: Layer) -> None:
    sink, hub = Sink(), make_hub()
    async with worker(layer, sink):
        Peer(hub).publish(signed())
        task = asyncio.create_task(WebBridge(hub, layer).run())
        await eventually(lambda: sink.taken)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_batches_are_bounded_in_number_and_bytes(layer: Layer) -> None:
    out = GroupSendQueue("group", layer)
    for _ in range(150):
        out.put(b"x")
    out.put(b"y" * bridge.BATCH_BYTES)
    out.put(b"z")
    assert [len(out._batch()) for _ in range(2)] == [100, 51]
    assert len(out._batch()) == 1


class TestPatience:
    """Events whose signer nobody serves at this moment."""

    @pytest.fixture
    def offered(self) -> list[Event]:
        return []

    def make(self, verdicts: list[DropReason | None], offered: list[Event], given_up: list[Event]) -> RetryQueue:
        def offer(event: Event, raw: bytes) -> DropReason | None:
            offered.append(event)
            return verdicts.pop(0)

        return RetryQueue(offer, given_up.append, 2, (0.01, 0.01))

    async def test_the_retry_queue_gives_up_after_its_last_pause(self, offered: list[Event]) -> None:
        given_up: list[Event] = []
        patience, event = self.make([DropReason.NOT_READY] * 2, offered, given_up), signed()
        patience.keep(event, b"")
        await eventually(lambda: given_up == [event])
        assert len(offered) == 2
        assert len(patience) == 0

    async def test_the_retry_queue_stops_when_the_event_is_taken_or_refused(self, offered: list[Event]) -> None:
        patience = self.make([DropReason.BUSY], offered, [])
        patience.keep(signed(), b"")
        await eventually(lambda: offered)
        await asyncio.sleep(0.03)
        assert len(offered) == 1

    async def test_the_retry_queue_is_bounded_and_can_be_cleared(self, offered: list[Event]) -> None:
        patience = self.make([], offered, [])
        assert [patience.keep(signed(content=str(number)), b"") for number in range(3)] == [True, True, False]
        patience.clear()
        await asyncio.sleep(0.03)
        assert offered == []


async def test_the_hub_retries_events_that_no_worker_is_ready_for() -> None:
    sink = Sink(DropReason.NOT_READY)
    hub = make_hub(sink)
    hub._patience._pauses = (0.02,)
    request = signed()
    assert Peer(hub, TENANT).publish(request)[0][2] is True
    sink.verdict = None
    await eventually(lambda: sink.taken)
    lost = signed(content="lost")
    sink.verdict = DropReason.NOT_READY
    peer = Peer(hub)
    peer.publish(lost)
    await eventually(lambda: peer.publish(lost)[0][3] == "")


def test_out_is_the_kind_of_thing_that_sessions_write_to() -> None:
    assert Out().is_overflown is False
