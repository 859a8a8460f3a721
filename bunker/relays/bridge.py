"""The built-in relay and the worker in different processes: events cross the channel layer, in bounded batches.

Web processes receive and verify (hub.RelayHub); ``WebBridge`` is their sink and sends what they accept to every
worker, of which the one that holds the signer's lease takes it. ``WorkerBridge`` is the worker's ``ReplyPort`` and
sends replies back to every web process. Delivery is at most once: what is lost the client asks for again, under the
same request id, and the claim in the database decides. The layer's store is trusted as the database is: nothing is
verified twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from channels.layers import get_channel_layer

from bunker.relays.event_checks import Intake
from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import BUILT_IN, DropReason, EventSink, ServedKeys
from bunker.relays.unserved import RetryQueue
from keycast.nostr.nip01 import EventError, parse_event

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

logger = logging.getLogger(__name__)

REQUESTS = "bunker.relay.requests"
REPLIES = "bunker.relay.replies"
MESSAGE = "bunker.relay"
REFUSAL = b"refuse "
"""How an item begins that is no reply: event id, a space, words for its sender."""
MOST_QUEUED = 2_000
MOST_QUEUED_BYTES = 64 * 1024 * 1024
BATCH_EVENTS = 100
BATCH_BYTES = 512 * 1024
REJOIN_SECONDS = 300.0
PAUSE_SECONDS = 1.0
FLUSH_SECONDS = 2.0

Layer = Any
"""A Channels layer; the package has no types."""


class GroupSendQueue:
    """Items for a group, sent in batches in the order they came; full means refused, a failed batch is lost."""

    def __init__(self, group: str, layer: Layer) -> None:
        self._group, self._layer = group, layer
        self._items: deque[bytes] = deque()
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._bytes = 0
        self.lost = 0

    def put(self, item: bytes) -> bool:
        """Queue one item; False when the queue is full."""
        if len(self._items) >= MOST_QUEUED or self._bytes + len(item) > MOST_QUEUED_BYTES:
            self.lost += 1
            return False
        self._items.append(item)
        self._bytes += len(item)
        self._idle.clear()
        self._wanted.set()
        return True

    async def flush(self) -> None:
        """Wait, for a bounded time, until everything was sent."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            self.lost += len(self._items)

    async def run(self) -> None:
        """Send until cancelled. What the layer's store raises when it is away costs one batch and a pause."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._items:
                batch = self._batch()
                try:
                    await self._layer.group_send(self._group, {"type": MESSAGE, "items": batch})
                except Exception as error:  # loop top (relay): nobody awaits this task, and it must not end
                    self.lost += len(batch)
                    logger.warning("relay events could not be sent", extra={"error": type(error).__name__})
                    await asyncio.sleep(PAUSE_SECONDS)
            self._idle.set()

    def _batch(self) -> list[bytes]:
        batch, room = [self._items.popleft()], BATCH_BYTES
        while self._items and len(batch) < BATCH_EVENTS and room > 0:
            room -= len(self._items[0])
            batch.append(self._items.popleft())
        self._bytes -= sum(map(len, batch))
        return batch


async def inflow(layer: Layer, group: str, take: Callable[[bytes], None]) -> None:
    """Hand each item that the group gets to ``take`` until cancelled."""
    while True:
        try:
            await _listen(layer, group, take)
        except Exception as error:  # loop top (relay): also what the store raises when it is away
            logger.warning("relay events could not be read", extra={"error": type(error).__name__})
            await asyncio.sleep(PAUSE_SECONDS)


async def _listen(layer: Layer, group: str, take: Callable[[bytes], None]) -> None:
    # The default prefix, as everywhere in a process: channels_redis reads one prefix at a time, so a second one would
    # wait up to a minute for a message of the first.
    channel = await layer.new_channel()
    try:
        while True:
            await layer.group_add(group, channel)  # membership runs out in some stores
            try:
                async with asyncio.timeout(REJOIN_SECONDS):
                    while True:
                        for item in (await layer.receive(channel)).get("items", ()):
                            take(item)
            except TimeoutError:
                continue
    finally:
        await layer.group_discard(group, channel)


class WebBridge:
    """A web process's side: the hub's sink, and where replies come back. ``run`` it beside the server."""

    def __init__(self, hub: RelayHub, layer: Layer | None = None) -> None:
        self._hub = hub
        self._layer = layer or get_channel_layer()
        self._out = GroupSendQueue(REQUESTS, self._layer)

    def receive(self, event: Event, raw: bytes, relay: str) -> DropReason | None:
        """Send an accepted event to the workers (interfaces.EventSink)."""
        return None if self._out.put(raw) else DropReason.BUSY

    async def run(self) -> None:
        """Serve until cancelled."""
        tasks = [
            asyncio.create_task(self._out.run()),
            asyncio.create_task(inflow(self._layer, REPLIES, self._take)),
        ]
        self._hub.attach(self)
        try:
            await asyncio.gather(*tasks)
        finally:
            self._hub.detach(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, item: bytes) -> None:
        if len(item) == 64:
            self._hub.forget(item.decode())
            return
        if item.startswith(REFUSAL):
            event_id, _, reason = item[len(REFUSAL) :].decode().partition(" ")
            self._hub.refuse(event_id, reason)
            return
        try:
            self._hub.publish(parse_event(item), item)
        except EventError:
            self._hub.intake.counters.misc["bridge-malformed"] += 1


class WorkerBridge:
    """A worker's side: implements ``interfaces.ReplyPort`` over the channel layer."""

    def __init__(self, layer: Layer | None = None, intake: Intake | None = None) -> None:
        self._layer = layer or get_channel_layer()
        self.intake = intake or Intake()
        self._out = GroupSendQueue(REPLIES, self._layer)
        self._sink: EventSink | None = None
        self._patience = RetryQueue(self._offer, self._give_up, MOST_QUEUED)
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def served(self) -> ServedKeys:
        """Which keys this worker serves."""
        return self.intake.served

    @served.setter
    def served(self, served: ServedKeys) -> None:
        self.intake.served = served

    def attach(self, sink: EventSink) -> None:
        """Hand the events that web processes accept to ``sink``. Call from the event loop."""
        self._sink = sink
        self._writer = self._writer or asyncio.create_task(self._out.run())
        self._reader = self._reader or asyncio.create_task(inflow(self._layer, REQUESTS, self._take))

    def detach(self, sink: EventSink) -> None:
        """Take no more events; replies still go out."""
        if self._sink is sink:
            self._sink = None
            self._patience.clear()
            if self._reader is not None:
                self._reader.cancel()
                self._reader = None

    def publish(self, event: Event, raw: bytes) -> None:
        """Send a reply to every web process."""
        if not self._out.put(raw):
            self.intake.counters.misc["bridge-full"] += 1

    def forget(self, event_id: str) -> None:
        """Let an event id in again, here and in the web processes."""
        self.intake.forget(event_id)
        self._out.put(event_id.encode())

    def refuse(self, event_id: str, reason: str) -> None:
        """Have the web process that took an event tell its sender why nobody can answer it."""
        self._out.put(REFUSAL + f"{event_id} {reason}".encode())

    async def flush(self) -> None:
        """Wait, for a bounded time, until the replies have left this process, then end."""
        await self._out.flush()
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    def _take(self, item: bytes) -> None:
        try:
            event = parse_event(item)
        except EventError:
            self.intake.counters.misc["bridge-malformed"] += 1
            return
        if self._offer(event, item) is DropReason.NOT_READY:
            self._patience.keep(event, item)

    def _offer(self, event: Event, raw: bytes) -> DropReason | None:
        return None if self._sink is None else self._sink.receive(event, raw, BUILT_IN)

    def _give_up(self, event: Event) -> None:
        self.intake.counters.drops[BUILT_IN, DropReason.NOT_READY] += 1
