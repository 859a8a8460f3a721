"""Fifty strangers that send the dearest they can, against one client: work is counted in simulated seconds, not timed.

The same attacks as those of ``make bench ARGS="--only siege"`` (tests/bench/strangers.py), which measures latency.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

import msgspec
import pytest

from bunker.relays.filters import Filter
from bunker.relays.hub import RelayHub
from keycast.crypto import schnorr
from keycast.nostr.nip01 import Event, parse_event, serialize
from tests.bench import strangers
from tests.bench.load import Target
from tests.bunker.relays.support import CLIENT, SIGNER, STRANGER, Clock, Peer, Sink, keypair, make_hub, reply, signed

SECONDS = 10
STRANGERS = 50
LEAST_GAP = 0.0002
"""Seconds between two frames of one connection: a network has some."""
BUNKER = f"bunker://{SIGNER.public_key_hex}?relay=wss%3A%2F%2Fa.example%2Frelay"
TARGET = Target(BUNKER, "0" * 64, f"{11:064x}")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often what is dear was done."""
    counts: Counter[str] = Counter()
    matches, verify = Filter.matches, schnorr.verify

    def count_match(self: Filter, event: Event, recipient: str) -> bool:
        counts["replies looked at"] += 1
        return matches(self, event, recipient)

    def count_check(public_key: bytes, message: bytes, signature: bytes) -> bool:
        counts["signatures"] += 1
        return verify(public_key, message, signature)

    def count_parse(raw: bytes) -> Event:
        counts["bytes parsed"] += len(raw)
        return parse_event(raw)

    monkeypatch.setattr(Filter, "matches", count_match)
    monkeypatch.setattr("bunker.relays.event_checks.schnorr.verify", count_check)
    monkeypatch.setattr("bunker.relays.event_checks.parse_event", count_parse)
    return counts


def remember(hub: RelayHub, count: int) -> None:
    template = reply()
    for number in range(count):
        event = msgspec.structs.replace(template, id=f"{number:064x}")
        hub.publish(event, serialize(event))


def dear(what: str) -> list[bytes]:
    if what == "small events":
        return [b'["EVENT",' + serialize(signed(STRANGER, content=str(number))) + b"]" for number in range(200)]
    return {"requests": strangers.dear_requests, "events": strangers.dear_events}[what]([TARGET])


def besiege(hub: RelayHub, clock: Clock, messages: list[bytes]) -> Iterator[int]:
    """Each stranger sends its next frame as soon as it is read again; yields how many frames each second took."""
    peers = [Peer(hub, address=f"192.0.2.{number}") for number in range(STRANGERS)]
    frames = [cycle(messages) for _ in peers]
    due = [(clock.now, number) for number in range(STRANGERS)]
    began, taken = clock.now, 0
    while True:
        at, number = heapq.heappop(due)
        if at >= began + 1:
            clock.now = began = began + 1
            yield taken
            taken = 0
        clock.now = max(clock.now, at)
        wait = peers[number].session.handle(next(frames[number]))
        peers[number].out.take()
        taken += 1
        heapq.heappush(due, (clock.now + max(wait, LEAST_GAP), number))


@pytest.mark.parametrize("what", ["requests", "events", "small events"])
async def test_fifty_strangers_get_a_bounded_amount_of_work_and_a_client_never_waits(
    done: Counter[str], what: str
) -> None:
    clock, sink = Clock(), Sink()
    hub = make_hub(sink, clock)
    limits = hub.limits
    remember(hub, 16_700)
    client = Peer(hub, address="198.51.100.1")
    assert client.subscribe(p=[CLIENT.public_key_hex], limit=0)[-1] == ["EOSE", "s"]
    siege = besiege(hub, clock, dear(what))
    next(siege)  # what they may have at once, they have had
    done.clear()
    for second in range(SECONDS):
        assert next(siege) < 3_000
        # A client signs, and a newcomer pairs, while they are at it.
        request = signed(content=str(second))
        assert client.session.handle(b'["EVENT",' + serialize(request) + b"]") == 0
        answer = reply(tags=[["p", CLIENT.public_key_hex], ["e", request.id]], content=str(second))
        hub.publish(answer, serialize(answer))
        heard = client.out.take()
        assert ["OK", request.id, True, ""] in heard
        assert [frame[2]["id"] for frame in heard if frame[0] == "EVENT"] == [answer.id]
        newcomer = Peer(hub, address=f"198.51.100.{2 + second}")
        wanted = json.dumps(["REQ", "s", {"kinds": [24133], "#p": [keypair(900 + second).public_key_hex]}])
        assert newcomer.session.handle(wanted.encode()) == 0
        greeting = signed(keypair(900 + second), content="x" * 2_000)
        assert newcomer.session.handle(b'["EVENT",' + serialize(greeting) + b"]") == 0
        assert ["OK", greeting.id, True, ""] in newcomer.out.take()
    units = SECONDS * (limits.work_of_strangers + STRANGERS * limits.work_per_stranger)
    # What is begun while nothing is owed may cost more than is left; the next waits for it.
    assert done["replies looked at"] <= 1.5 * units * 8
    assert done["signatures"] <= 1.2 * units / 4 + 3 * SECONDS
    assert done["bytes parsed"] <= 1.2 * units * 2_048
    assert {event.pubkey for event, _, _ in sink.taken} - {STRANGER.public_key_hex}


async def test_subscriptions_that_are_kept_open_and_messages_that_are_not_finished_take_bounded_memory() -> None:
    """20 subscriptions of 70,000 values each took 125 MiB once; now they are refused by size."""
    hub = make_hub(None, Clock())
    peers = [Peer(hub, address=f"192.0.2.{number % STRANGERS}") for number in range(2 * STRANGERS)]
    values = [f"{number:064x}" for number in range(1_000)]
    huge = json.dumps(["REQ", "s", *[{"#p": values, **{f"#{tag}": values for tag in "abcdef"}}] * 10]).encode()
    assert len(huge) > 4_000_000
    for peer in peers:
        assert [frame[0] for frame in peer.text(huge)] == ["NOTICE"]
    assert hub.subscription_bytes.total == 0
    assert [peer.session.keeps(1 << 20) for peer in peers].count(True) == 65
