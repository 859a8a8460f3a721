"""A server that ends: what was written arrives, nothing is kept that nobody will answer, and clients come again."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import DropReason
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import (
    CLIENT,
    DIRECT,
    Client,
    Clock,
    Out,
    Sink,
    make_hub,
    reply,
    served,
    signed,
)
from tests.waiting import eventually

ME = CLIENT.public_key_hex
WINDOW = 3_600.0


@pytest.fixture
async def hub() -> RelayHub:
    return make_hub(Sink(), reply_window=WINDOW)


async def test_a_connection_ends_without_a_closing_handshake(hub: RelayHub) -> None:
    async with served(hub, DIRECT) as url:
        socket = await connect(url, compression=None, proxy=None)
        await Client(socket).subscribe(p=[ME])
        assert hub.connections == 1
    with pytest.raises(ConnectionClosed) as ended:
        await asyncio.wait_for(socket.recv(), 5)
    assert ended.value.rcvd is None, "a clean close tells libraries (RxJS) that there is nothing to come back for"
    assert hub.connections == 0


async def test_what_was_written_arrives_before_the_end(hub: RelayHub) -> None:
    answer, request = reply(content="x" * 300_000), signed()
    async with served(hub, DIRECT) as url:
        peer = Client(await connect(url, compression=None, proxy=None))
        await peer.subscribe(p=[ME])
        await peer.socket.send('["EVENT",' + _json(request) + "]")
        await eventually(lambda: hub._lazy)
        hub.publish(answer, _json(answer).encode())
        await peer.say("REQ", "lazy", {"#p": [ME], "limit": 0})
    frames = []
    with pytest.raises(ConnectionClosed):
        while True:
            frames.append(await peer.hear())
    assert ["OK", request.id, True, ""] in frames
    assert [frame[2]["id"] for frame in frames if frame[0] == "EVENT"] == [answer.id]


async def test_a_lazy_ok_goes_before_the_end(hub: RelayHub) -> None:
    request = signed()
    async with served(hub, DIRECT) as url:
        peer = Client(await connect(url, compression=None, proxy=None))
        await peer.socket.send('["EVENT",' + _json(request) + "]")
        await eventually(lambda: hub._lazy)
        hub.flush()
    assert await peer.hear() == ["OK", request.id, True, ""]


def test_nothing_is_kept_for_a_worker_that_will_not_come() -> None:
    hub = make_hub(None, Clock())
    session = hub.open("a" * 32, "127.0.0.1", Out())
    assert session is not None
    early, late = signed(content="early"), signed(content="late")
    assert hub.accept(early, _json(early).encode(), session) is None
    hub.stop()
    assert hub.accept(late, _json(late).encode(), session) is DropReason.NOT_READY


def _json(event: Event) -> str:
    return serialize(event).decode()
