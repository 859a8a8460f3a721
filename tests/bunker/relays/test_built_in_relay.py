"""The built-in relay over real websockets, by the direct way and by plain ASGI, and what hostile clients do to it."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bunker.relays.consumer import RelayConsumer, sole_host
from bunker.relays.direct_protocol import frame_at, text_frame
from bunker.relays.hub import RelayHub
from keycast.nostr.nip01 import serialize
from tests.bunker.relays.support import (
    CLIENT,
    DIRECT,
    PLAIN,
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

ME = CLIENT.public_key_hex


@pytest.fixture(params=[DIRECT, PLAIN], ids=["direct", "plain"])
def ws(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def hub(sink: Sink) -> RelayHub:
    return make_hub(sink)


@pytest.fixture
async def url(hub: RelayHub, ws: str) -> AsyncIterator[str]:
    async with served(hub, ws) as address:
        yield address


# The handshake


@pytest.mark.parametrize("host", ["unknown.example", "a.example.evil.example", "127.0.0.2"])
async def test_an_unknown_host_is_refused_at_the_handshake(url: str, hub: RelayHub, host: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with client(url, host):
            pass
    assert refusal.value.response.status_code == 403
    assert hub.connections == 0


def test_two_hosts_are_no_host() -> None:
    assert sole_host({"headers": [(b"host", b"a.example"), (b"host", b"b.example")]}) is None
    assert sole_host({"headers": []}) is None
    assert sole_host({"headers": [(b"host", b"a.example")]}) == "a.example"


async def test_too_many_connections_are_refused_at_the_handshake(sink: Sink, ws: str) -> None:
    hub = make_hub(sink, connections_per_ip=1)
    async with served(hub, ws) as url, client(url):
        with pytest.raises(InvalidStatus):
            async with client(url):
                pass
        assert hub.connections == 1
    assert hub.connections == 0


async def test_hosts_lead_to_their_own_tenants_signers(url: str) -> None:
    async with client(url, "a.example") as ours, client(url, "b.example") as theirs:
        assert (await ours.publish(signed()))[2] is True
        assert (await theirs.publish(signed(content="other")))[2:] == [
            False,
            "blocked: neither from nor to a signer of this relay",
        ]


# What works


@pytest.mark.compliance(spec="NIP-46", section="Overview", requirement="requests and replies travel over the relay")
async def test_a_request_reaches_the_worker_and_its_reply_the_client(url: str, hub: RelayHub, sink: Sink) -> None:
    def answer(request: Any) -> None:
        answered = reply(content="to " + request.content)
        hub.publish(answered, serialize(answered))

    sink.on_receive = answer
    async with client(url) as peer:
        await peer.subscribe(p=[ME])
        request = signed(content="héllo ☃")
        heard = [await peer.publish(request), await peer.hear()]
        assert ["OK", request.id, True, ""] in heard
        (event,) = [frame[2] for frame in heard if frame[0] == "EVENT"]
        assert event["content"] == "to héllo ☃"


async def test_an_ok_comes_without_a_reply_too(url: str) -> None:
    async with client(url) as peer:
        assert (await peer.publish(signed()))[2] is True


async def test_many_clients_hear_their_own_replies_only(url: str, hub: RelayHub, sink: Sink) -> None:
    from tests.bunker.relays.support import keypair

    keys = [keypair(100 + number) for number in range(20)]
    by_key = {key.public_key_hex: key for key in keys}

    def answer(request: Any) -> None:
        answered = reply(by_key[request.pubkey], request.content)
        hub.publish(answered, serialize(answered))

    sink.on_receive = answer

    async def converse(key: Any) -> None:
        async with client(url) as peer:
            await peer.subscribe(p=[key.public_key_hex])
            for number in range(5):
                heard = [await peer.publish(signed(key, content=f"{key.public_key_hex} {number}")), await peer.hear()]
                (event,) = [frame[2] for frame in heard if frame[0] == "EVENT"]
                assert event["content"] == f"{key.public_key_hex} {number}"

    await asyncio.gather(*map(converse, keys))


@pytest.mark.parametrize("size", [0, 100, 65_000, 70_000, 200_000])
async def test_events_of_every_size_pass(url: str, hub: RelayHub, sink: Sink, size: int) -> None:
    async with client(url) as peer:
        await peer.subscribe(p=[ME])
        assert (await peer.publish(signed(content="x" * size)))[2] is True
        answer = reply(content="y" * size)
        hub.publish(answer, serialize(answer))
        assert len((await peer.hear())[2]["content"]) == size


async def test_fragments_and_pings_in_between_are_put_together(url: str, sink: Sink) -> None:
    text = '["EVENT",' + serialize(signed(content="x" * 1000)).decode() + "]"

    async def pieces() -> AsyncIterator[str]:
        for start in range(0, len(text), 100):
            yield text[start : start + 100]

    async with client(url) as peer:
        await peer.socket.send(pieces())
        await (await peer.socket.ping())
        assert (await peer.hear())[2] is True
        assert len(sink.taken) == 1


async def test_many_frames_in_one_packet_are_answered_in_order(url: str) -> None:
    async with client(url) as peer:
        events = [signed(content=str(number)) for number in range(50)]
        frames = b"".join(masked(b'["EVENT",' + serialize(event) + b"]") for event in events)
        peer.socket.transport.write(frames)
        assert [(await peer.hear())[1] for _ in events] == [event.id for event in events]


async def test_a_frame_that_comes_byte_by_byte_is_read(url: str, sink: Sink) -> None:
    async with client(url) as peer:
        for byte in masked(b'["EVENT",' + serialize(signed()) + b"]"):
            peer.socket.transport.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.hear())[2] is True


async def test_a_closed_connection_frees_everything(url: str, hub: RelayHub) -> None:
    async with client(url) as peer:
        await peer.subscribe(p=[ME])
        assert hub.connections == 1
    await eventually(lambda: hub.connections == 0)
    assert not hub._by_recipient


async def test_a_connection_that_breaks_off_in_the_middle_of_a_frame_frees_everything(url: str, hub: RelayHub) -> None:
    async with client(url) as peer:
        await peer.subscribe(p=[ME])
        peer.socket.transport.write(masked(b"x" * 1000)[:500])
        await asyncio.sleep(0.02)
        peer.socket.transport.abort()
    await eventually(lambda: hub.connections == 0)


# Hostile clients


async def test_a_binary_message_ends_the_connection(url: str, hub: RelayHub) -> None:
    async with client(url) as peer:
        await peer.socket.send(b"\x00")
        assert await closed_with(peer) == 1003
    assert hub.connections == 0


async def test_a_message_over_the_bound_ends_the_connection_before_it_is_complete(url: str, hub: RelayHub) -> None:
    size = hub.intake.limits.frame_bytes + 1
    async with client(url) as peer:
        peer.socket.transport.write(bytes((0x81, 0xFF)) + struct.pack("!Q", size) + b"mask")
        assert await closed_with(peer) == 1009


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x81\x05hello", id="unmasked"),
        pytest.param(masked(b"x", 0xC1), id="compressed"),
        pytest.param(masked(b"x", 0x83), id="unknown opcode"),
        pytest.param(masked(b"x" * 126, 0x89), id="long ping"),
        pytest.param(masked(b"x", 0x80), id="continuation of nothing"),
        pytest.param(masked(b"x", 0x09), id="fragmented ping"),
    ],
)
async def test_a_frame_that_breaks_the_protocol_ends_the_connection(url: str, hub: RelayHub, frame: bytes) -> None:
    async with client(url) as peer:
        peer.socket.transport.write(frame)
        assert await closed_with(peer) in {1002, 1006}
    await eventually(lambda: hub.connections == 0)


async def test_a_fault_of_ours_ends_one_connection_and_is_counted(url: str, hub: RelayHub, caplog: Any) -> None:
    async with client(url) as unlucky, client(url) as lucky:
        hub.accept = None  # type: ignore[assignment, method-assign]
        await unlucky.socket.send('["EVENT",' + serialize(signed()).decode() + "]")
        await closed_with(unlucky)
        del hub.accept
        assert (await lucky.publish(signed(content="other")))[2] is True
    assert hub.intake.counters.misc["relay-errors"] == 1
    assert "ciphertext" not in caplog.text


async def test_a_client_that_does_not_read_is_dropped_and_memory_stays(ws: str) -> None:
    hub = make_hub(Sink(), queue_bytes=200_000, queue_frames=10_000)
    async with served(hub, ws) as url, client(url) as slow, client(url) as quick:
        await slow.subscribe(p=[ME])
        await quick.subscribe(p=[ME], authors=[reply().pubkey])
        slow.socket.transport.pause_reading()
        for number in range(2_000):
            answer = reply(content=f"{number}" + "x" * 8_000)
            hub.publish(answer, serialize(answer))
            await quick.hear()
            if hub.connections == 1:
                break
        await eventually(lambda: hub.connections == 1)
        slow.socket.transport.abort()


async def test_a_client_that_says_nothing_and_waits_for_nothing_is_let_go(ws: str) -> None:
    hub = make_hub(Sink(), idle_seconds=0.2)
    async with served(hub, ws) as url, client(url) as idle, client(url) as waiting:
        await waiting.subscribe(p=[ME])
        assert await closed_with(idle) == 1001
        assert await waiting.hears_nothing(0.3)
        assert hub.connections == 1


async def test_a_flood_of_frames_is_slowed_down(ws: str) -> None:
    hub = make_hub(Sink(), frames_per_second=100)
    async with served(hub, ws) as url, client(url) as peer:
        peer.socket.transport.write(masked(b'["CLOSE","x"]') * 600)
        await peer.say("REQ", "s", {"#p": [ME]})
        assert await peer.hears_nothing(0.5)


async def test_a_flood_of_pings_ends_the_connection() -> None:
    hub = make_hub(Sink())
    async with served(hub, DIRECT) as url, client(url) as peer:
        peer.socket.transport.write(masked(b"", 0x89) * 20_000)
        assert await closed_with(peer) == 1006
    await eventually(lambda: hub.connections == 0)


async def test_fragments_without_end_end_the_connection() -> None:
    hub = make_hub(Sink())
    async with served(hub, DIRECT) as url, client(url) as peer:
        peer.socket.transport.write(masked(b"[", 0x01) + masked(b"", 0x00) * 5_000)
        assert await closed_with(peer) == 1006


async def test_text_that_is_not_utf8_is_refused(url: str, sink: Sink) -> None:
    async with client(url) as peer:
        peer.socket.transport.write(masked(b'["EVENT",{"id":"\xff\xfe"}]'))
        try:
            assert (await peer.hear())[0] == "NOTICE"
        except ConnectionClosed:
            assert peer.socket.close_code == 1007
    assert not sink.taken


async def test_pings_keep_a_half_open_connection_from_staying(ws: str) -> None:
    hub = make_hub(Sink())
    async with served(hub, ws, ws_ping_interval=0.1, ws_ping_timeout=0.1) as url, client(url) as peer:
        await peer.subscribe(p=[ME])
        peer.socket.transport.pause_reading()
        await eventually(lambda: hub.connections == 0)
        peer.socket.transport.abort()


@asynccontextmanager
async def early(hub: RelayHub, sent: bytes, application: Any = None) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends before its handshake is answered."""
    go_on = asyncio.Event()

    async def slow_scope(host: str) -> str:
        await go_on.wait()
        return "a" * 32

    application = application or RelayConsumer.as_asgi(hub=hub, resolve_scope=slow_scope)
    async with served(hub, DIRECT, application=application) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0]))
        writer.write(
            b"GET /relay HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await asyncio.sleep(0.02)
        writer.write(sent)
        await asyncio.sleep(0.02)
        go_on.set()
        await reader.readuntil(b"\r\n\r\n")
        yield reader
        writer.close()


@pytest.mark.parametrize("size", [100, 300_000])
async def test_what_a_client_says_before_the_handshake_ends_waits_and_is_answered(
    hub: RelayHub, sink: Sink, size: int
) -> None:
    event = signed(content="x" * size)
    async with early(hub, masked(b'["EVENT",' + serialize(event) + b"]")) as reader:
        head = await reader.readexactly(2)
        assert json.loads(await reader.readexactly(head[1])) == ["OK", event.id, True, ""]
        assert len(sink.taken) == 1


async def test_an_application_that_does_not_take_over_gets_what_came_early(hub: RelayHub) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.1)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})

    async with early(hub, masked(b"hello"), echo) as reader:
        assert await reader.readexactly(7) == text_frame(b"hello")


async def test_compression_is_not_offered(url: str) -> None:
    async with connect(url, compression="deflate", proxy=None) as socket:
        assert not socket.protocol.extensions


# Frames


@pytest.mark.compliance(spec="RFC 6455", section="5.2", requirement="shortest length form, unmasked from the server")
@pytest.mark.parametrize(("size", "head"), [(0, "8100"), (125, "817d"), (126, "817e007e"), (65_535, "817effff")])
def test_a_text_frame_has_the_shortest_head(size: int, head: str) -> None:
    frame = text_frame(b"x" * size)
    assert frame.startswith(bytes.fromhex(head))
    assert len(frame) == size + len(head) // 2
    assert frame_at(bytearray(frame), 0) == (len(head) // 2, len(frame))


def test_a_long_text_frame_has_eight_bytes_of_length() -> None:
    frame = text_frame(b"x" * 65_536)
    assert frame[:10].hex() == "817f0000000000010000"
    assert frame_at(bytearray(frame), 0) == (10, len(frame))


def test_an_incomplete_head_is_waited_for() -> None:
    frame = masked(b"x" * 70_000)
    assert [frame_at(bytearray(frame[:size]), 0) for size in range(14)] == [None] * 14
    assert frame_at(bytearray(frame[:14]), 0) == (14, len(frame))
