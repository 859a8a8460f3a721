"""REQ at the built-in relay: filters, what is stored, what comes live, what was had already (NIP-01)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bunker.relays.hub import RelayHub
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import (
    CLIENT,
    OTHER_SIGNER,
    SIGNER,
    STRANGER,
    TENANT,
    Clock,
    Peer,
    Sink,
    make_hub,
    reply,
    signed,
)

ME = CLIENT.public_key_hex


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub(sink: Sink, clock: Clock) -> RelayHub:
    return make_hub(sink, clock)


@pytest.fixture
async def peer(hub: RelayHub) -> Peer:
    return Peer(hub)


@pytest.mark.compliance(spec="NIP-01", section="From relay to client: CLOSED", requirement="a refused REQ is CLOSED")
@pytest.mark.parametrize(
    "filter_",
    [
        [],
        "x",
        None,
        {"kinds": "24133"},
        {"kinds": [True], "authors": [ME]},
        {"kinds": [1.0], "authors": [ME]},
        {"kinds": [-1], "authors": [ME]},
        {"authors": [ME.upper()]},
        {"authors": [ME[:10]]},
        {"ids": [1]},
        {"#p": ME},
        {"authors": [ME], "#e": [1]},
        {"authors": [ME], "since": "1"},
        {"authors": [ME], "limit": -1},
        {"authors": [ME], "search": "x"},
        {"authors": [ME], "#pp": ["x"]},
        {"#p": [ME] * 201},
        {"#p": [ME], "#e": ["x"], "#t": ["x"], "#a": ["x"]},
        {"#p": [ME], "#e": ["x"] * 21},
        {"#p": [ME], "#e": ["x" * 129]},
    ],
)
async def test_a_filter_that_is_not_understood_is_refused(peer: Peer, filter_: Any) -> None:
    (frame,) = peer.say("REQ", "s", filter_)
    assert frame[:2] == ["CLOSED", "s"]
    assert frame[2].partition(":")[0] in {"invalid", "unsupported"}
    assert not peer.session.subscriptions


@pytest.mark.parametrize("filter_", [{}, {"kinds": [24133]}, {"since": 1}, {"kinds": [24133], "#e": ["x"]}])
async def test_nobody_may_watch_everybodys_traffic(peer: Peer, filter_: Any) -> None:
    (frame,) = peer.say("REQ", "s", filter_)
    assert frame[:2] == ["CLOSED", "s"]
    assert frame[2].startswith("restricted: ")


@pytest.mark.parametrize("name", ["", "x" * 65, 1, None, ["s"], {}])
async def test_a_subscription_id_that_is_none_gets_a_notice(peer: Peer, name: Any) -> None:
    (frame,) = peer.say("REQ", name, {"authors": [ME]})
    assert frame[0] == "NOTICE"


async def test_filters_and_subscriptions_are_bounded(clock: Clock) -> None:
    peer = Peer(make_hub(None, clock, filters=2, subscriptions=2))
    assert peer.say("REQ", "s")[0][0] == "CLOSED"
    assert peer.say("REQ", "s", *[{"#p": [ME]}] * 3)[0][0] == "CLOSED"
    assert peer.subscribe("a", p=[ME]) == [["EOSE", "a"]]
    assert peer.subscribe("b", p=[ME]) == [["EOSE", "b"]]
    assert peer.subscribe("c", p=[ME]) == [["CLOSED", "c", "rate-limited: too many subscriptions"]]
    assert peer.subscribe("b", p=[ME]) == [["EOSE", "b"]]
    assert peer.say("CLOSE", "a") == []
    assert peer.subscribe("c", p=[ME]) == [["EOSE", "c"]]


@pytest.mark.compliance(spec="NIP-01", section="From client to relay: REQ", requirement="EOSE, then live events")
async def test_a_reply_reaches_the_client_it_is_for(hub: RelayHub, peer: Peer) -> None:
    assert peer.subscribe(kinds=[24133], p=[ME], authors=[SIGNER.public_key_hex]) == [["EOSE", "s"]]
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert peer.out.take() == [["EVENT", "s", msgspec.to_builtins(answer)]]


@pytest.mark.compliance(spec="NIP-01", section="Filters", requirement="all conditions of a filter must hold")
@pytest.mark.parametrize(
    "filter_",
    [
        {"p": [STRANGER.public_key_hex]},
        {"p": [ME], "authors": [OTHER_SIGNER.public_key_hex]},
        {"p": [ME], "kinds": [1]},
        {"p": [ME], "kinds": []},
        {"p": [ME], "since": 2**40},
        {"p": [ME], "until": 1},
        {"p": [ME], "ids": ["0" * 64]},
        {"p": [ME], "#e": ["x"]},
        {"p": []},
        {"p": [ME], "authors": []},
        {"ids": ["0" * 64]},
    ],
)
async def test_a_reply_reaches_nobody_whose_filter_it_does_not_meet(
    hub: RelayHub, peer: Peer, filter_: dict[str, Any]
) -> None:
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert peer.subscribe("stored", **filter_) == [["EOSE", "stored"]]
    peer.say("CLOSE", "stored")
    peer.subscribe("live", **filter_)
    later = reply(content="later")
    hub.publish(later, serialize(later))
    assert peer.out.take() == []


@pytest.mark.parametrize(
    "filter_",
    [
        {"p": [ME]},
        {"p": [STRANGER.public_key_hex, ME], "kinds": [1, 24133]},
        {"authors": [SIGNER.public_key_hex], "p": [ME]},
        {"p": [ME], "#p": [ME]},
        {"p": [ME], "since": 1, "until": 2**40, "limit": 10},
    ],
)
async def test_a_reply_reaches_everybody_whose_filter_it_meets_stored_and_live(
    hub: RelayHub, peer: Peer, filter_: dict[str, Any]
) -> None:
    answer, later = reply(), reply(content="later")
    hub.publish(answer, serialize(answer))
    assert [frame[0] for frame in peer.subscribe(**filter_)] == ["EVENT", "EOSE"]
    hub.publish(later, serialize(later))
    assert [frame[2]["id"] for frame in peer.out.take()] == [later.id]


async def test_a_reply_that_meets_two_filters_of_a_subscription_is_sent_once(hub: RelayHub, peer: Peer) -> None:
    answer = reply()
    hub.publish(answer, serialize(answer))
    signer = SIGNER.public_key_hex
    frames = peer.say("REQ", "s", {"#p": [ME]}, {"authors": [signer], "#p": [ME]}, {"ids": [answer.id]})
    assert [frame[0] for frame in frames] == ["EVENT", "EOSE"]
    later = reply(content="later")
    hub.publish(later, serialize(later))
    assert len(peer.out.take()) == 1


@pytest.mark.compliance(spec="NIP-01", section="Filters", requirement="limit: newest first, ties by lower id")
async def test_a_limit_takes_the_newest_and_zero_takes_none(hub: RelayHub, peer: Peer) -> None:
    answers = [reply(content=str(number), at=1_800_000_000 + number // 2) for number in range(6)]
    for answer in answers:
        hub.publish(answer, serialize(answer))
    newest = sorted(answers, key=lambda event: (-event.created_at, event.id))
    assert [frame[2]["id"] for frame in peer.subscribe(p=[ME], limit=3)[:-1]] == [event.id for event in newest[:3]]
    assert peer.subscribe("none", p=[ME], limit=0) == [["EOSE", "none"]]
    later = reply(content="later")
    hub.publish(later, serialize(later))
    assert {frame[1] for frame in peer.out.take()} == {"s", "none"}


@pytest.mark.compliance(spec="NIP-01", section="From client to relay: CLOSE", requirement="CLOSE ends a subscription")
async def test_a_closed_subscription_gets_nothing(hub: RelayHub, peer: Peer) -> None:
    peer.subscribe(p=[ME])
    peer.say("CLOSE", "s")
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert peer.out.take() == []


async def test_the_same_id_replaces_a_subscription(hub: RelayHub, peer: Peer) -> None:
    peer.subscribe(p=[ME])
    peer.subscribe(p=[STRANGER.public_key_hex])
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert peer.out.take() == []


async def test_a_refused_replacement_ends_the_subscription(hub: RelayHub, peer: Peer) -> None:
    peer.subscribe(p=[ME])
    assert peer.say("REQ", "s", {"kinds": [24133]})[0][0] == "CLOSED"
    assert not peer.session.subscriptions


async def test_a_client_that_reconnects_misses_nothing_for_a_minute(hub: RelayHub, clock: Clock) -> None:
    answer = reply()
    hub.publish(answer, serialize(answer))
    clock.now += 59
    assert [frame[0] for frame in Peer(hub).subscribe(p=[ME], since=answer.created_at)] == ["EVENT", "EOSE"]
    clock.now += 2
    assert [frame[0] for frame in Peer(hub).subscribe(p=[ME], since=answer.created_at)] == ["EOSE"]


async def test_a_further_subscription_does_not_bring_what_another_of_the_connection_had(
    hub: RelayHub, peer: Peer
) -> None:
    peer.subscribe("a", p=[ME])
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert [frame[0] for frame in peer.out.take()] == ["EVENT"]
    assert peer.subscribe("b", p=[ME]) == [["EOSE", "b"]]
    assert [frame[0] for frame in peer.subscribe("c", ids=[answer.id])] == ["EVENT", "EOSE"]
    assert [frame[0] for frame in Peer(hub).subscribe(p=[ME])] == ["EVENT", "EOSE"]


async def test_values_of_all_filters_of_a_connection_are_bounded(clock: Clock) -> None:
    peer = Peer(make_hub(None, clock, filter_values_per_connection=3))
    keys = [f"{number:064x}" for number in range(4)]
    assert peer.subscribe("a", p=keys)[0][:2] == ["CLOSED", "a"]
    assert peer.subscribe("a", p=keys[:2]) == [["EOSE", "a"]]
    assert peer.subscribe("b", p=keys[:2])[0][0] == "CLOSED"
    assert peer.subscribe("a", p=keys[:3]) == [["EOSE", "a"]]


async def test_the_same_event_again_brings_its_answer_again(hub: RelayHub, peer: Peer, sink: Sink) -> None:
    request = signed()
    peer.publish(request)
    answer = reply(tags=[["p", ME], ["e", request.id]])
    hub.publish(answer, serialize(answer))
    again = Peer(hub)
    assert again.subscribe(p=[ME], limit=0) == [["EOSE", "s"]]
    frames = again.publish(request)
    assert [frame[0] for frame in frames] == ["EVENT", "OK"]
    assert frames[0][2]["id"] == answer.id
    assert len(sink.taken) == 1


async def test_an_event_again_that_is_forged_reaches_no_worker(hub: RelayHub, peer: Peer, sink: Sink) -> None:
    request = signed()
    peer.publish(request)
    forged = Event(request.id, request.pubkey, request.created_at, request.kind, request.tags, "other", request.sig)
    assert peer.publish(forged)[0][3].startswith("duplicate")
    assert len(sink.taken) == 1


async def test_the_sender_of_an_event_hears_that_nobody_can_answer_it(hub: RelayHub, peer: Peer) -> None:
    request = signed()
    peer.publish(request)
    hub.refuse(request.id, "invalid: no")
    assert peer.out.take() == [["OK", request.id, False, "invalid: no"]]
    hub.refuse(request.id, "invalid: no")
    assert peer.out.take() == []


async def test_an_ok_that_has_not_left_yet_is_replaced_by_the_refusal(hub: RelayHub, peer: Peer) -> None:
    request = signed()
    peer.session.handle(b'["EVENT",' + serialize(request) + b"]")
    hub.refuse(request.id, "invalid: no")
    assert peer.out.take() == [["OK", request.id, False, "invalid: no"]]


async def test_the_memory_is_bounded(clock: Clock) -> None:
    hub = make_hub(None, clock, memory_events=10, stored_per_request=5)
    for number in range(30):
        answer = reply(content=str(number))
        hub.publish(answer, serialize(answer))
    assert len(Peer(hub).subscribe(p=[ME])) == 5 + 1
    assert len(hub._memory) == 10
    assert hub._memory.count_of(TENANT) == 10


async def test_what_is_stored_never_fills_a_clients_queue(clock: Clock) -> None:
    hub = make_hub(None, clock, queue_bytes=10_000)
    for number in range(30):
        answer = reply(content=str(number) * 500)
        hub.publish(answer, serialize(answer))
    assert 1 < len(Peer(hub).subscribe(p=[ME])) < 20
