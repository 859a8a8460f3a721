"""Outbound relays that do not behave (threats.md T6, T14, T15): bounded, punished, and no harm to the others."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from bunker.relays import outbound
from bunker.relays.bounded_connection import SLICE, BoundedConnection
from bunker.relays.interfaces import DropReason, PublishState, RelayStatus
from keycast.nostr.nip01 import serialize
from tests.bunker.relays.double import QUICK, Double, pool
from tests.bunker.relays.support import OTHER_SIGNER, SIGNER, STRANGER, reply, signed
from tests.waiting import eventually

PATIENT = replace(QUICK, penalty_first=60.0)


async def forever(connection: ServerConnection, make: Callable[[int], str | bytes]) -> None:
    """Send without end, as fast as the socket takes it."""
    number = 0
    while True:
        await connection.send(make(number))
        number += 1
        if number % 50 == 0:
            await asyncio.sleep(0)  # it shares the event loop with what it attacks


def frame(event: Any, name: str = "k0") -> str:
    return json.dumps(["EVENT", name, msgspec.to_builtins(event)])


STALE = frame(signed(at=1_000_000))


def forged() -> str:
    """Made when it is sent: one that has become stale meanwhile is dropped for that."""
    return frame(msgspec.structs.replace(signed(), content="changed"))


UNASKED = {
    "a subscription never opened": (frame(signed(), "other"), DropReason.UNASKED),
    "a kind not asked for": (frame(signed(kind=1)), DropReason.WRONG_KIND),
    "a key not asked for": (frame(signed(to=OTHER_SIGNER)), DropReason.UNASKED),
    "a stranger's key": (frame(signed(to=STRANGER)), DropReason.UNASKED),
    "two recipients": (frame(signed(tags=[["p", SIGNER.public_key_hex]] * 2)), DropReason.WRONG_RECIPIENT),
    "a forged event": (forged, DropReason.BAD_ID),
    "what is not JSON": ("x" * 100, DropReason.MALFORMED),
    "what is no message": ("{}", DropReason.MALFORMED),
    "deep nesting": ("[" * 20_000, DropReason.MALFORMED),
    "an unknown message": ('["HELLO"]', DropReason.UNASKED),
    "an OK for nothing": ('["OK","' + "f" * 64 + '",true,""]', DropReason.UNASKED),
    "an OK with the wrong types": ('["OK",1,"true"]', DropReason.MALFORMED),
    "an EOSE for nothing": ('["EOSE","other"]', DropReason.UNASKED),
    "a CLOSED for nothing": ('["CLOSED","other","x"]', DropReason.UNASKED),
    "binary frames": (b"\x00\x01", DropReason.MALFORMED),
}


@pytest.mark.parametrize(("text", "reason"), UNASKED.values(), ids=UNASKED.keys())
async def test_a_relay_that_sends_what_nobody_asked_for_is_counted_then_dropped(
    text: str | bytes | Callable[[], str], reason: DropReason
) -> None:
    sent = text() if callable(text) else text

    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        await forever(connection, lambda _: sent)

    bad, good = Double(greet=flood), Double()
    async with bad.serving(), good.serving(), pool(PATIENT) as home:
        home.want(bad, good)
        await eventually(lambda: home.intake.counters.misc["relays-punished"])
        assert home.row(bad).drops[reason.value] > 50
        assert home.row(bad).status is RelayStatus.WAITING
        await asyncio.sleep(0.2)
        assert len(bad.connections) == 1
        await good.send(signed(content="through the good one"))
        await eventually(lambda: home.sink.taken)
        assert home.sink.taken[0][2] == good.url
        assert len(home.sink.taken) == 1


async def test_a_relay_that_ignores_the_p_of_live_events_is_borne() -> None:
    """Seen in the wild: every subscription for the kind gets everybody's events, our own replies among them."""
    relay = Double()
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        for number in range(300):
            await relay.send(reply(content=str(number)))
            await relay.send(signed(to=STRANGER, content=str(number)))
        await relay.send(signed())
        await eventually(lambda: home.sink.taken)
        assert len(relay.connections) == 1
        assert home.row(relay).drops == {DropReason.UNASKED.value: 600}


async def test_a_little_misbehaviour_is_forgiven() -> None:
    relay = Double()
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        for _ in range(20):
            await relay.connections[0].send(forged())
        await relay.send(signed())
        await eventually(lambda: home.sink.taken)
        assert len(relay.connections) == 1


FLOODS: dict[str, Callable[[int], str | bytes]] = {
    "stale events": lambda number: STALE,
    "notices": lambda number: json.dumps(["NOTICE", "x" * 65_000]),
    "challenges": lambda number: json.dumps(["AUTH", f"challenge {number}"]),
    "long challenges": lambda number: json.dumps(["AUTH", "x" * 60_000]),
    "the same event": lambda number: DUPLICATE,
    "EOSE for an open subscription": lambda number: '["EOSE","k0"]',
    "CLOSED for an open subscription": lambda number: '["CLOSED","k0","auth-required: x"]',
}
DUPLICATE = frame(signed(content="again and again"))


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_is_read_slowly_and_kept_nowhere(make: Callable[[int], str | bytes]) -> None:
    """Memory stays flat and the other relay's requests come through while one relay sends without end."""

    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        await forever(connection, make)

    bad, good = Double(greet=flood), Double()
    limits = replace(QUICK, tokens_per_second=500)
    async with bad.serving(), good.serving(), pool(limits) as home:
        home.want(bad, good)
        await home.live(good)
        await asyncio.sleep(0.3)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10):
            await good.send(signed(content=f"request {number}"))
            await eventually(lambda wanted=f"request {number}": wanted in contents(home))
            await asyncio.sleep(0.05)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 2_000_000
        assert len([item for item in home.sink.taken if item[2] == bad.url]) <= 1


def contents(home: Any) -> list[str]:
    return [event.content for event, _, _ in home.sink.taken]


async def test_a_flood_of_pings_ends_the_connection() -> None:
    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.write(b"\x89\x00" * 200_000)
        await connection.wait_closed()

    bad = Double(greet=flood)
    async with bad.serving(), pool(replace(QUICK, backoff_first=30, backoff_most=30)) as home:
        home.want(bad)
        await eventually(lambda: home.row(bad).status is RelayStatus.WAITING)
        await asyncio.sleep(0.05)
        assert len(bad.connections) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x01\x01[" + b"\x00\x00" * 5_000, id="fragments without end"),
        pytest.param(b"\x81\x7f" + (2**40).to_bytes(8, "big"), id="a frame without end"),
        pytest.param(b"\xc1\x05hello", id="a compressed frame"),
        pytest.param(b"\x81\x85maskhello", id="a masked frame"),
        pytest.param(b"\x81\x7e\xff\xff" + b"x" * 100, id="half a frame and then nothing"),
        pytest.param(b"\x83\x00", id="an unknown opcode"),
    ],
)
async def test_frames_that_break_the_protocol_end_the_connection(data: bytes) -> None:
    async def break_it(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.write(data)
        if data.endswith(b"xx"):
            connection.transport.abort()
        await connection.wait_closed()

    bad, good = Double(greet=break_it), Double()
    async with bad.serving(), good.serving(), pool(replace(QUICK, backoff_first=30, backoff_most=30)) as home:
        home.want(bad, good)
        await home.live(good)
        await eventually(lambda: home.row(bad).status is RelayStatus.WAITING)
        await good.send(signed())
        await eventually(lambda: home.sink.taken)


async def test_a_packet_full_of_tiny_frames_does_not_hold_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[None] = []
    genuine = BoundedConnection.process_event

    def process_event(self: BoundedConnection, event: Any) -> None:
        parsed.append(None)
        genuine(self, event)

    monkeypatch.setattr(BoundedConnection, "process_event", process_event)

    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.write(b"\x81\x00" * 500_000)
        await connection.wait_closed()

    bad = Double(greet=flood)
    async with bad.serving(), pool(PATIENT) as home:
        home.want(bad)
        most, before = 0, 0
        while not home.intake.counters.misc["relays-punished"]:
            await asyncio.sleep(0)
            most, before = max(most, len(parsed) - before), len(parsed)
        assert 0 < most <= 2 * SLICE, "a frame has two bytes: more at once than a slice or two hold up everything else"


async def test_a_relay_that_never_says_eose_still_serves() -> None:
    async def no_eose(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        return parts[0] == "REQ"

    relay = Double(no_eose)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        await relay.send(signed())
        await eventually(lambda: home.sink.taken)
        assert home.row(relay).eose_ms is None


async def test_a_half_open_connection_is_noticed_and_replaced() -> None:
    async def freeze(connection: ServerConnection) -> None:
        if len(relay.connections) == 1:
            connection.transport.pause_reading()

    relay = Double(greet=freeze)
    limits = replace(QUICK, ping_interval=0.1, ping_timeout=0.1)
    async with relay.serving(ping_interval=None), pool(limits) as home:
        home.want(relay)
        await eventually(lambda: len(relay.connections) == 2)
        await home.live(relay)
        relay.connections[0].transport.abort()


async def test_a_relay_that_does_not_read_is_left_and_its_replies_go_elsewhere() -> None:
    async def freeze(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.pause_reading()
        await connection.wait_closed()

    bad, good = Double(greet=freeze), Double()
    limits = replace(QUICK, send_timeout=0.2, pending=2_000, backoff_first=30, backoff_most=30)
    async with bad.serving(), good.serving(), pool(limits) as home:
        home.want(bad, good)
        await home.live(good)
        await eventually(lambda: bad.connections)
        for number in range(400):
            event = reply(content=f"{number}" + "x" * 50_000)
            home.pool.publish(event, serialize(event), [bad.url], expires_at=time.time() + 60)
        await eventually(lambda: home.row(bad).status is RelayStatus.WAITING)
        event = reply()
        publication = home.pool.publish(event, serialize(event), [bad.url, good.url], expires_at=time.time() + 60)
        await eventually(lambda: publication.is_accepted)
        assert publication.states[bad.url] is PublishState.PENDING
        bad.connections[0].transport.abort()


async def test_a_relay_that_drops_reorders_and_duplicates_costs_nothing_but_itself() -> None:
    """30 % of the requests never come over the bad relay, the others twice and in the wrong order."""
    bad, good = Double(), Double()
    async with bad.serving(), good.serving(), pool() as home:
        home.want(bad, good)
        await home.live(bad, good)
        requests = [signed(content=str(number)) for number in range(30)]
        for request in reversed([request for number, request in enumerate(requests) if number % 3]):
            await bad.send(request)
            await bad.send(request)
        for request in requests:
            await good.send(request)
        await eventually(lambda: len(home.sink.taken) == 30)
        assert sorted(home.sink.ids) == sorted(request.id for request in requests)


async def test_forged_copies_from_one_relay_do_not_block_the_true_event_from_another() -> None:
    bad, good = Double(), Double()
    async with bad.serving(), good.serving(), pool() as home:
        home.want(bad, good)
        await home.live(bad, good)
        true = signed()
        await bad.send(msgspec.structs.replace(true, content="changed"))
        await bad.send(msgspec.structs.replace(true, sig="0" * 128))
        await asyncio.sleep(0.05)
        await good.send(true)
        await eventually(lambda: home.sink.taken)
        assert home.sink.taken[0][0] == true


async def test_a_relay_that_keeps_disconnecting_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    longest: list[float] = []

    def uniform(least: float, most: float) -> float:
        longest.append(most)
        assert least == most / 2
        return 0.001

    monkeypatch.setattr(outbound, "random", SimpleNamespace(uniform=uniform))

    async def hang_up(connection: ServerConnection) -> None:
        await connection.close()

    relay = Double(greet=hang_up)
    limits = replace(QUICK, backoff_first=1.0, backoff_most=10.0)
    async with relay.serving(), pool(limits) as home:
        home.want(relay)
        await eventually(lambda: len(longest) >= 6)
        assert longest[:6] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
        assert len(relay.connections) >= 6
        assert home.row(relay).score < 0.15


async def test_a_relays_verifications_are_bounded_apart_from_the_others() -> None:
    bad, good = Double(), Double()
    async with bad.serving(), good.serving(), pool(intake={"relay_verifications": 10}) as home:
        home.want(bad, good)
        await home.live(bad, good)
        for number in range(40):
            await bad.send(signed(content=f"bad {number}"))
        await good.send(signed(content="good"))
        await eventually(lambda: "good" in [event.content for event, _, _ in home.sink.taken])
        await eventually(lambda: home.row(bad).drops.get(DropReason.OVER_BUDGET.value, 0) >= 20)
