"""What one address can make the built-in relay do: counted in units of work, never in wall time. Refusals first."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bunker.relays.filters import Filter
from bunker.relays.hub import RelayHub
from bunker.relays.session import LARGE
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import Event, parse_event, serialize
from tests.bunker.relays.support import CLIENT, SIGNER, STRANGER, Clock, Peer, Sink, make_hub, reply, signed

ME, IT = CLIENT.public_key_hex, SIGNER.public_key_hex
ELSEWHERE = "192.0.2.2"


def keys(count: int, start: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(start, start + count)]


def remember(hub: RelayHub, count: int) -> None:
    """Have the relay remember replies of one signer to ten clients; unsigned, for nobody looks at signatures here."""
    template, clients = reply(), keys(10)
    for number in range(count):
        event = msgspec.structs.replace(template, id=f"{number:064x}", tags=[["p", clients[number % 10]]])
        hub.publish(event, serialize(event))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    seen: list[Event] = []
    matches = Filter.matches

    def spy(self: Filter, event: Event, recipient: str) -> bool:
        seen.append(event)
        return matches(self, event, recipient)

    monkeypatch.setattr(Filter, "matches", spy)
    return seen


@pytest.mark.parametrize(
    "filters",
    [
        [{"#p": keys(10), "since": 2**40 + number} for number in range(10)],
        [{"#p": keys(10), "authors": [IT], "#e": keys(9)} for _ in range(10)],
        [{"#p": keys(100), "until": number} for number in range(2)],
        [{"#p": keys(1, number), "until": number} for number in range(10)],
    ],
)
async def test_one_subscription_is_compared_with_no_more_than_so_many_replies(
    looked_at: list[Event], filters: list[dict[str, Any]]
) -> None:
    hub = make_hub(None, Clock(), candidates_per_request=50)
    remember(hub, 3_000)
    assert Peer(hub).say("REQ", "s", *filters) == [["EOSE", "s"]]
    assert len(looked_at) == 50


async def test_a_filter_by_id_looks_at_what_it_names_alone(looked_at: list[Event]) -> None:
    hub = make_hub(None, Clock())
    remember(hub, 500)
    frames = Peer(hub).say("REQ", "s", *({"ids": [name]} for name in keys(10)))
    assert [frame[0] for frame in frames] == ["EVENT"] * 10 + ["EOSE"]
    assert len(looked_at) == 10


@pytest.mark.parametrize(
    "frame",
    [
        ["REQ", "s", *[{"#p": keys(10), "since": 2**40}] * 10],
        ["REQ", "s", {"#p": keys(200)}],
        ["REQ", "s", *[{"#p": keys(1), "authors": keys(19), "#t": ["x" * 60] * 2}] * 10],
        ["EVENT", {"kind": 1, "content": "x" * 900_000}],
        ["FOO", "x" * 900_000],
        ["REQ", "s", {"#p": keys(10)}],
    ],
)
async def test_what_is_dear_is_paid_for_by_its_address_before_it_may_have_more(frame: list[Any]) -> None:
    clock = Clock()
    hub = make_hub(Sink(), clock, work_per_ip=100, candidates_per_request=2_000)
    remember(hub, 4_000)
    text = json.dumps(frame).encode()
    waits = []
    for number in range(20):  # each from a connection of its own
        peer = Peer(hub)
        waits.append(peer.session.handle(text))
        assert number or not any("rate-limited" in json.dumps(heard) for heard in peer.out.take())
    assert waits[-1] > 0
    late = Peer(hub)
    assert late.subscribe(p=[ME])[0][:2] == ["CLOSED", "s"]
    assert Peer(hub, address=ELSEWHERE).subscribe(p=[ME]) == [["EOSE", "s"]]
    clock.now += 3_600
    assert late.subscribe(p=[ME]) == [["EOSE", "s"]]


async def test_values_that_are_waited_for_and_bytes_that_are_sent_are_paid_for() -> None:
    hub = make_hub(None, Clock(), work_per_ip=5)
    assert Peer(hub).session.handle(json.dumps(["REQ", "s", {"#p": keys(10)}]).encode()) == 0
    assert Peer(hub, address=ELSEWHERE).session.handle(json.dumps(["REQ", "s", {"#p": keys(48)}]).encode()) > 0
    answer = reply(content="x" * 30_000)
    hub.publish(answer, serialize(answer))
    wanted = json.dumps(["REQ", "s", {"ids": [answer.id]}]).encode()
    assert Peer(hub, address="192.0.2.3").session.handle(wanted) > 0


async def test_a_large_event_waits_and_is_told_so_where_a_small_one_passes() -> None:
    clock, sink = Clock(), Sink()
    hub = make_hub(sink, clock, work_per_ip=10)
    peer = Peer(hub)
    peer.text(b'["EVENT","' + b"x" * 500_000 + b'"]')
    large, small = signed(content="x" * LARGE), signed()
    # As JavaScript libraries order the members: the id after the content.
    members = ("kind", "created_at", "tags", "content", "pubkey", "id", "sig")
    (frame,) = peer.say("EVENT", {name: getattr(large, name) for name in members})
    assert frame == ["OK", large.id, False, "rate-limited: slow down"]
    assert peer.publish(small) == [["OK", small.id, True, ""]]
    assert sink.ids == [small.id]
    clock.now += 60
    assert peer.publish(large) == [["OK", large.id, True, ""]]


async def test_values_of_all_connections_from_an_address_are_bounded() -> None:
    hub = make_hub(None, Clock(), filter_values_per_ip=5)
    first, second = Peer(hub), Peer(hub)
    assert first.subscribe("a", p=keys(3)) == [["EOSE", "a"]]
    assert second.subscribe("a", p=keys(3))[0][:2] == ["CLOSED", "a"]
    assert second.subscribe("a", p=keys(2)) == [["EOSE", "a"]]
    assert second.subscribe("a", p=keys(2, 7)) == [["EOSE", "a"]]
    assert Peer(hub, address=ELSEWHERE).subscribe("a", p=keys(5)) == [["EOSE", "a"]]
    first.session.close()
    assert second.subscribe("b", p=keys(3)) == [["EOSE", "b"]]
    second.say("CLOSE", "b")
    second.session.close()
    assert hub.values_of("192.0.2.1") == 0


async def test_more_values_than_a_connection_may_have_are_refused_before_each_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bunker.relays.requested_filters.parse_filter", lambda *_: pytest.fail("parsed"))
    wanted = {f"#{letter}": ["x"] * 900 for letter in "abc"}
    peer = Peer(make_hub(None, Clock(), filter_values_per_connection=2_000))
    assert peer.say("REQ", "s", {"authors": [ME], **wanted})[0][:2] == ["CLOSED", "s"]


async def test_a_burst_as_documented_is_never_made_to_wait() -> None:
    """1,000 requests at once, each with a subscription of its own that ends, or an inbox of long messages."""
    hub = make_hub(Sink(), Clock(), intake={"verifications": 6_000})
    peer = Peer(hub)
    peer.session.become_known(ME)  # with the first answer
    for number in range(1_000):
        request = b'["EVENT",' + serialize(signed(content=f"{number}" + "x" * 1_500)) + b"]"
        frames = (["REQ", f"r{number}", {"kinds": [24133], "authors": [IT], "#p": [ME]}], ["CLOSE", f"r{number}"])
        first, last = (json.dumps(frame).encode() for frame in frames)
        assert [peer.session.handle(text) for text in (first, request, last)] == [0.0] * 3
    assert [frame[2] for frame in peer.out.take() if frame[0] == "OK"] == [True] * 1_000


def answered(hub: RelayHub, peer: Peer, *, author: Keypair = CLIENT) -> None:
    """Have the worker answer a request of this connection."""
    request = signed(author, content=str(id(peer)))
    peer.publish(request)
    answer = reply(author, tags=[["p", author.public_key_hex], ["e", request.id]])
    hub.publish(answer, serialize(answer))
    peer.out.take()


async def test_strangers_of_all_addresses_pay_together() -> None:
    clock = Clock()
    hub = make_hub(Sink(), clock, work_of_strangers=400, work_per_stranger=20)
    long = json.dumps(["EVENT", {"kind": 1, "content": "x" * 200_000}]).encode()
    waits = [Peer(hub, address=f"192.0.2.{number}").session.handle(long) for number in range(10)]
    assert waits[0] == 0
    assert waits[-1] > 0.5
    late = Peer(hub, address="192.0.2.99")
    (frame,) = late.publish(signed(content="x" * 200_000))
    assert frame[2:] == [False, "rate-limited: slow down"]
    # What a newcomer needs to pair is served at once all the same, and so is who was answered before.
    newcomer = Peer(hub, address="192.0.2.100")
    assert newcomer.session.handle(json.dumps(["REQ", "s", {"#p": [ME]}]).encode()) == 0
    assert newcomer.session.handle(b'["EVENT",' + serialize(signed()) + b"]") == 0
    answered(hub, newcomer)
    assert newcomer.session.handle(b'["EVENT",' + serialize(signed(content="x" * 100_000)) + b"]") == 0
    clock.now += 60
    assert late.publish(signed(content="x" * 20_000))[0][2] is True


async def test_signatures_of_strangers_are_paid_for_together() -> None:
    """They never use up the checks that all share: fifty addresses are slowed down long before."""
    hub = make_hub(Sink(), Clock())
    frame = b'["EVENT",' + serialize(signed(STRANGER)) + b"]"
    checks = 0
    for number in range(50):
        peer = Peer(hub, address=f"192.0.2.{number}")
        checks += 1
        while peer.session.handle(frame) == 0:
            checks += 1
    assert 1_000 < checks < 3_200 < hub.intake.limits.verifications


async def test_a_connection_is_a_strangers_until_a_paired_client_is_answered_on_it() -> None:
    hub = make_hub(Sink(), Clock())
    stranger, client = Peer(hub), Peer(hub)
    answered(hub, stranger, author=STRANGER)
    assert not stranger.session.is_known
    answered(hub, client)
    assert client.session.is_known
    assert not stranger.session.is_known


async def test_an_app_pays_for_all_of_its_connections_together() -> None:
    hub = make_hub(Sink(), Clock(), events_per_second=100)
    waits = []
    for number in range(50):
        peer = Peer(hub, address=f"192.0.2.{number}")
        answered(hub, peer)
        waits.append(max(peer.session.handle(b'["EVENT",' + serialize(signed()) + b"]") for _ in range(10)))
    assert waits[0] == 0
    assert waits[-1] > 1
    newcomer = Peer(hub, address="192.0.2.99")
    assert newcomer.session.handle(b'["EVENT",' + serialize(signed(STRANGER)) + b"]") == 0


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    seen: list[bytes] = []

    def spy(raw: bytes) -> Event:
        seen.append(raw)
        return parse_event(raw)

    monkeypatch.setattr("bunker.relays.event_checks.parse_event", spy)
    return seen


@pytest.mark.parametrize(
    ("options", "changes", "text"),
    [
        ({"kind": 1}, {}, "blocked: only kind 24133 is taken here"),
        ({"to": STRANGER}, {}, "blocked: neither from nor to a signer of this relay"),
        ({"tags": []}, {}, "invalid: exactly one p tag is needed"),
        ({"at": 1}, {}, "invalid: created_at is too far from the present"),
        ({}, {"sig": "0" * 128}, "invalid: bad signature"),
        ({}, {"sig": "x"}, "invalid: this is not an event"),
    ],
)
async def test_a_long_event_is_refused_by_what_stands_beside_its_content(
    parsed: list[bytes], options: dict[str, Any], changes: dict[str, str], text: str
) -> None:
    sink = Sink()
    event = msgspec.structs.replace(signed(content="x" * 480_000, **options), **changes)
    assert Peer(make_hub(sink)).publish(event) == [["OK", event.id, False, text]]
    assert not parsed
    assert not sink.taken


async def test_a_very_long_event_of_a_stranger_is_not_parsed_and_it_learns_nothing(parsed: list[bytes]) -> None:
    sink = Sink()
    hub = make_hub(sink)
    long = signed(STRANGER, content="x" * 480_000)
    assert Peer(hub).publish(long) == [["OK", long.id, True, ""]]
    assert not parsed
    assert not sink.taken
    hub.served.pairing.add(IT)  # type: ignore[attr-defined]
    assert Peer(hub).publish(long) == [["OK", long.id, True, ""]]
    assert sink.ids == [long.id]


async def test_a_long_event_whose_content_is_not_what_was_signed_is_refused(parsed: list[bytes]) -> None:
    sink = Sink()
    event = msgspec.structs.replace(signed(content="x" * 480_000), content="y" * 480_000)
    assert Peer(make_hub(sink)).publish(event)[0][3] == "invalid: the id is not the hash of the event"
    assert not sink.taken


async def test_an_office_behind_one_address_comes_back_at_once_after_a_restart() -> None:
    hub = make_hub(Sink(), Clock())
    for number in range(300):
        peer = Peer(hub)
        assert peer.subscribe(kinds=[24133], p=keys(1, number), since=1) == [["EOSE", "s"]]
        assert peer.publish(signed(content=str(number)))[0][2]
