"""Who sees what at the built-in relay: nothing of others' traffic, more with a proved key (NIP-42). Refusals first."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bunker.relays.hub import RelayHub
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import (
    CLIENT,
    OTHER_TENANT,
    SIGNER,
    STRANGER,
    Client,
    Peer,
    Sink,
    client,
    keypair,
    make_hub,
    reply,
    served,
    signed,
)

ME, IT = CLIENT.public_key_hex, SIGNER.public_key_hex
HERE = "wss://a.example/relay"
WATCHES = [
    {"authors": [IT]},
    {"authors": [ME]},
    {"kinds": [24133], "authors": [IT, ME], "since": 1},
]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def hub(sink: Sink) -> RelayHub:
    return make_hub(sink)


@pytest.fixture
async def peer(hub: RelayHub) -> Peer:
    return Peer(hub)


def answer_to(challenge: str, key: Keypair = CLIENT, relay: str = HERE, **options: Any) -> Event:
    tags = [["relay", relay], ["challenge", challenge]]
    return signed(key, None, "", **{"kind": 22242, "tags": tags, **options})


def challenged(peer: Peer) -> str:
    """The challenge that comes with a refusal."""
    (first, second) = peer.subscribe("watch", authors=[IT])
    assert second[:2] == ["CLOSED", "watch"]
    assert second[2].startswith("auth-required: ")
    assert first[0] == "AUTH"
    return str(first[1])


def authenticate(peer: Peer, event: Event) -> list[Any]:
    return peer.text(b'["AUTH",' + serialize(event) + b"]")


def proved(peer: Peer, *keys: Keypair) -> Peer:
    for key in keys:
        event = (
            answer_to(challenged(peer), key)
            if not peer.session.keys.proved
            else answer_to(peer.session.keys.challenge, key)
        )
        assert authenticate(peer, event) == [["OK", event.id, True, ""]]
    return peer


def traffic(hub: RelayHub) -> tuple[Event, Event]:
    """A request, and its reply."""
    request, answer = signed(content=str(time.monotonic_ns())), reply(content=str(time.monotonic_ns()))
    Peer(hub).publish(request)
    hub.publish(answer, serialize(answer))
    return request, answer


def seen(peer: Peer) -> list[str]:
    return [frame[2]["id"] for frame in peer.out.take() if frame[0] == "EVENT"]


# Strangers


@pytest.mark.parametrize("filter_", WATCHES)
async def test_a_stranger_watches_no_signer_and_no_client(hub: RelayHub, peer: Peer, filter_: Any) -> None:
    traffic(hub)
    frames = peer.say("REQ", "s", filter_)
    assert [frame[0] for frame in frames] == ["AUTH", "CLOSED"]
    traffic(hub)
    assert peer.out.take() == []
    assert not peer.session.subscriptions


@pytest.mark.parametrize("filter_", [{"#p": [IT]}, {"#p": [IT], "authors": [ME]}])
async def test_a_stranger_sees_no_request_to_a_signer(hub: RelayHub, peer: Peer, filter_: Any) -> None:
    traffic(hub)
    assert peer.say("REQ", "s", filter_) == [["EOSE", "s"]]
    traffic(hub)
    assert peer.out.take() == []


async def test_a_request_is_not_to_be_had_by_its_id(hub: RelayHub, peer: Peer) -> None:
    request = signed()
    assert peer.say("REQ", "s", {"ids": [request.id]}) == [["EOSE", "s"]]
    Peer(hub).publish(request)
    assert Peer(hub).say("REQ", "s", {"ids": [request.id]}) == [["EOSE", "s"]]
    assert peer.out.take() == []


async def test_a_client_without_nip42_has_its_answers_and_hears_of_no_challenge(hub: RelayHub, peer: Peer) -> None:
    """As nostr-tools, nostrify, NDK, applesauce and welshman subscribe."""
    assert peer.subscribe("one", kinds=[24133], authors=[IT], p=[ME], limit=0) == [["EOSE", "one"]]
    assert peer.subscribe("two", kinds=[24133], p=[ME]) == [["EOSE", "two"]]
    _, answer = traffic(hub)
    assert seen(peer) == [answer.id, answer.id]


async def test_a_filter_that_can_match_nothing_here_is_no_reason_for_a_challenge(peer: Peer) -> None:
    """A library that asks every relay it knows for profiles must not end up in a state of authentication."""
    assert peer.subscribe(kinds=[0, 10002], authors=[ME]) == [["EOSE", "s"]]


# Proofs


@pytest.mark.compliance(
    spec="NIP-42", section="Signed Event Verification", requirement="each part of the event is checked"
)
@pytest.mark.parametrize(
    ("change", "prefix"),
    [
        ({"kind": 22243}, "invalid"),
        ({"at": time.time() - 3_600}, "invalid"),
        ({"at": time.time() + 3_600}, "invalid"),
        ({"tags": [["relay", HERE], ["challenge", "0" * 32]]}, "invalid"),
        ({"tags": [["relay", HERE], ["challenge", ""]]}, "invalid"),
        ({"tags": [["relay", HERE]]}, "invalid"),
        ({"relay": "wss://b.example/relay"}, "invalid"),
        ({"relay": "wss://a.example.evil.example/relay"}, "invalid"),
        ({"relay": "wss://a.example/other"}, "invalid"),
        ({"relay": "https://a.example/relay"}, "invalid"),
        ({"relay": "wss://[a/relay"}, "invalid"),
        ({"relay": ""}, "invalid"),
    ],
)
async def test_a_wrong_proof_proves_nothing(peer: Peer, change: dict[str, Any], prefix: str) -> None:
    event = answer_to(challenged(peer), **change)
    challenge, answer = authenticate(peer, event)
    assert challenge[0] == "AUTH"
    assert answer[:3] == ["OK", event.id, False]
    assert answer[3].startswith(prefix + ": ")
    assert not peer.session.keys.proved


async def test_a_forged_proof_proves_nothing(peer: Peer) -> None:
    true = answer_to(challenged(peer), STRANGER)
    forged = Event(true.id, ME, true.created_at, true.kind, true.tags, true.content, true.sig)
    assert authenticate(peer, forged)[1][3] == "invalid: the id is not the hash of the event"
    other = answer_to(peer.session.keys.challenge)
    wrong = Event(other.id, ME, other.created_at, other.kind, other.tags, other.content, true.sig)
    assert authenticate(peer, wrong)[1][3] == "invalid: bad signature"
    assert not peer.session.keys.proved


async def test_a_proof_for_another_connection_proves_nothing(hub: RelayHub, peer: Peer) -> None:
    event = answer_to(challenged(Peer(hub)))
    challenged(peer)
    assert authenticate(peer, event)[1][2] is False


async def test_a_proof_without_a_challenge_is_answered_with_one(peer: Peer) -> None:
    challenge, answer = authenticate(peer, answer_to(""))
    assert challenge[0] == "AUTH"
    assert answer[2] is False
    assert authenticate(peer, answer_to(challenge[1]))[0][2] is True


async def test_what_is_no_event_proves_nothing(peer: Peer) -> None:
    assert peer.say("AUTH", {"kind": 22242}) == [["NOTICE", "invalid: this is not an event"]]
    assert peer.say("AUTH") == [["NOTICE", "unsupported: unknown message"]]


async def test_keys_of_a_connection_are_bounded(sink: Sink) -> None:
    peer = proved(Peer(make_hub(sink, auth_keys=2)), CLIENT, STRANGER)
    assert authenticate(peer, answer_to(peer.session.keys.challenge, keypair(50)))[1][3].startswith("restricted: ")
    assert len(peer.session.keys.proved) == 2


async def test_proofs_are_paid_for_like_other_signatures(sink: Sink) -> None:
    peer = Peer(make_hub(sink, verifications_per_ip=1))
    proved(peer, CLIENT)
    assert authenticate(peer, answer_to(peer.session.keys.challenge, STRANGER))[1][3].startswith("rate-limited: ")


# With a proved key


@pytest.mark.parametrize("relay", [HERE, HERE + "/", "ws://A.EXAMPLE:8443//relay"])
async def test_a_proved_key_sees_what_is_for_it_and_no_more(hub: RelayHub, peer: Peer, relay: str) -> None:
    event = answer_to(challenged(peer), relay=relay)
    assert authenticate(peer, event) == [["OK", event.id, True, ""]]
    _, answer = traffic(hub)
    foreign = reply(STRANGER)
    hub.publish(foreign, serialize(foreign))
    assert [frame[2]["id"] for frame in peer.subscribe(authors=[IT])[:-1]] == [answer.id]
    _, live = traffic(hub)
    hub.publish(foreign, serialize(foreign))
    assert seen(peer) == [live.id]


async def test_a_proved_key_sees_its_own_requests(hub: RelayHub, peer: Peer) -> None:
    proved(peer, CLIENT)
    assert peer.subscribe(authors=[ME]) == [["EOSE", "s"]]
    request, _ = traffic(hub)
    Peer(hub).publish(signed(STRANGER))
    assert seen(peer) == [request.id]


async def test_another_proved_key_sees_nothing(hub: RelayHub, peer: Peer) -> None:
    proved(peer, STRANGER)
    for filter_ in (*WATCHES, {"#p": [IT]}):
        assert peer.say("REQ", "s", filter_) == [["EOSE", "s"]]
        traffic(hub)
        assert seen(peer) == []


async def test_a_proved_key_sees_nothing_of_another_tenant(hub: RelayHub) -> None:
    peer = Peer(hub, OTHER_TENANT)
    proved(peer, CLIENT)
    peer.subscribe(authors=[IT])
    traffic(hub)
    assert seen(peer) == []


# Where it is required


@pytest.fixture
async def strict(sink: Sink) -> RelayHub:
    hub = make_hub(sink)
    hub.is_auth_required = True
    return hub


@pytest.mark.parametrize("filter_", [{"#p": [ME]}, {"#p": [ME], "authors": [IT]}, {"ids": ["0" * 64]}, *WATCHES])
async def test_nothing_is_read_without_a_key_where_that_is_required(strict: RelayHub, filter_: Any) -> None:
    peer = Peer(strict)
    frames = peer.say("REQ", "s", filter_)
    assert [frame[0] for frame in frames] == ["AUTH", "CLOSED"]
    assert frames[1][2].startswith("auth-required: ")
    traffic(strict)
    assert peer.out.take() == []


async def test_with_another_key_it_is_restricted_where_that_is_required(strict: RelayHub) -> None:
    peer = Peer(strict)
    proved(peer, STRANGER)
    assert peer.subscribe(p=[ME])[0][2].startswith("restricted: ")
    assert peer.subscribe(p=[ME, STRANGER.public_key_hex])[0][0] == "CLOSED"
    assert peer.subscribe(ids=["0" * 64]) == [["EOSE", "s"]]


async def test_ones_own_answers_are_read_where_it_is_required(strict: RelayHub) -> None:
    peer = Peer(strict)
    proved(peer, CLIENT)
    assert peer.subscribe(p=[ME]) == [["EOSE", "s"]]
    _, answer = traffic(strict)
    assert seen(peer) == [answer.id]
    assert [frame[0] for frame in Peer(strict).subscribe(ids=[answer.id])] == ["AUTH", "CLOSED"]


@pytest.mark.compliance(
    spec="NIP-42", section="From relay to client", requirement="a challenge, valid for the connection"
)
async def test_a_challenge_greets_where_it_is_required_and_only_there(hub: RelayHub, strict: RelayHub) -> None:
    async with served(strict) as url, client(url) as peer:
        name, challenge = await peer.hear()
        assert name == "AUTH"
        event = answer_to(challenge, relay=url)
        await peer.socket.send('["AUTH",' + serialize(event).decode() + "]")
        assert await peer.hear() == ["OK", event.id, True, ""]
        await subscribed_and_answered(peer, strict)
    async with served(hub) as url, client(url) as peer:
        await subscribed_and_answered(peer, hub)


async def subscribed_and_answered(peer: Client, hub: RelayHub) -> None:
    """The first thing that this connection hears is what it asked for."""
    assert await peer.subscribe(p=[ME]) == []
    answer = reply()
    hub.publish(answer, serialize(answer))
    assert (await peer.hear())[2]["id"] == answer.id
