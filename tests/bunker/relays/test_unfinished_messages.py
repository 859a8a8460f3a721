"""What one address may make the built-in relay hold: messages that are never finished, answers that nobody reads."""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bunker.relays.hub import RelayHub
from keycast.nostr.nip01 import serialize
from tests.bunker.relays.support import (
    CLIENT,
    DIRECT,
    Sink,
    client,
    closed_with,
    make_hub,
    masked,
    reply,
    served,
    signed,
)
from tests.waiting import eventually


@pytest.fixture
def sink() -> Sink:
    return Sink()


def unfinished(size: int, sent: int) -> bytes:
    """The beginning of a text frame of ``size`` bytes."""
    return bytes((0x81, 0xFF)) + struct.pack("!Q", size) + b"mask" + b"x" * sent


async def test_unfinished_messages_of_an_address_are_bounded(sink: Sink) -> None:
    hub = make_hub(sink, incoming_bytes_per_ip=1_000_000)
    async with served(hub, DIRECT) as url, client(url) as honest, AsyncExitStack() as stack:
        for _ in range(20):
            peer = await stack.enter_async_context(client(url))
            peer.socket.transport.write(unfinished(500_000, 200_000))
        await eventually(lambda: hub.connections < 20)
        assert hub.incoming_bytes.total <= 1_000_000
        # What is small needs no room.
        assert (await honest.publish(signed()))[2] is True
    await eventually(lambda: hub.connections == 0)
    assert hub.incoming_bytes.total == 0


async def test_unfinished_messages_in_fragments_are_bounded_too(sink: Sink) -> None:
    hub = make_hub(sink, incoming_bytes_per_ip=1_000_000)
    async with served(hub, DIRECT) as url, AsyncExitStack() as stack:
        for _ in range(20):
            peer = await stack.enter_async_context(client(url))
            peer.socket.transport.write(masked(b"x" * 100_000, 0x01) + masked(b"x" * 100_000, 0x00))
        await eventually(lambda: hub.connections < 11)
        assert 0 < hub.incoming_bytes.total <= 1_000_000


async def test_who_was_answered_has_room_of_its_own(sink: Sink) -> None:
    hub = make_hub(sink, incoming_bytes_per_ip=100_000)
    sink.on_receive = lambda request: answer_to(hub, request)
    async with served(hub, DIRECT) as url, client(url) as known, client(url) as stranger:
        await known.publish(signed())
        stranger.socket.transport.write(unfinished(900_000, 99_000))
        await eventually(lambda: hub.incoming_bytes.total > 80_000)
        event = signed(content="x" * 600_000)
        assert (await known.publish(event))[:3] == ["OK", event.id, True]
        assert hub.incoming_bytes_of_clients.total == 0


def answer_to(hub: RelayHub, request: Any) -> None:
    answer = reply(tags=[["p", request.pubkey], ["e", request.id]])
    hub.publish(answer, serialize(answer))


async def test_a_message_that_takes_too_long_ends_the_connection(sink: Sink) -> None:
    hub = make_hub(sink, message_seconds=0)
    async with served(hub, DIRECT) as url, client(url) as peer:
        peer.socket.transport.write(unfinished(500_000, 400_000))
        assert await closed_with(peer) == 1006
    assert hub.incoming_bytes.total == 0


async def test_what_an_address_does_not_read_is_bounded() -> None:
    hub = make_hub(Sink(), unread_bytes_per_ip=400_000)
    async with served(hub, DIRECT) as url, AsyncExitStack() as stack:
        for _ in range(10):
            peer = await stack.enter_async_context(client(url))
            await peer.subscribe(p=[CLIENT.public_key_hex])
            peer.socket.transport.pause_reading()
        for number in range(1_000):
            answer = reply(content=f"{number}" + "x" * 50_000)
            hub.publish(answer, serialize(answer))
            assert hub.unread_bytes.total <= 400_000
            await asyncio.sleep(0)
            if hub.connections < 10:
                break
        assert hub.connections < 10
    await eventually(lambda: hub.connections == 0)
    assert hub.unread_bytes.total == 0
