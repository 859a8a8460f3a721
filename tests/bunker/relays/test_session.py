"""NIP-01 as the built-in relay speaks it: one session, no sockets. Refusals first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import DropReason
from bunker.relays.session import OK_TEXT
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import (
    CLIENT,
    OTHER_SIGNER,
    OTHER_TENANT,
    SIGNER,
    STRANGER,
    TENANT,
    Clock,
    Out,
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


# Messages that are none


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"{}",
        b"[]",
        b"[1]",
        b"null",
        b'["EVENT"',
        b"[" * 20_000,
        b'[["EVENT"]]',
        b"\xff\xfe\x00",
        b'["EVENT",{}]trailing',
        b'["REQ","s",{"kinds":NaN}]\x00',
    ],
)
async def test_a_message_that_is_none_gets_a_notice(peer: Peer, text: bytes) -> None:
    (frame,) = peer.text(text)
    assert frame[0] == "NOTICE"
    assert frame[1].startswith("invalid: ")


@pytest.mark.parametrize("parts", [("COUNT", "s", {}), ("NEG-OPEN", "s"), ("EVENT",), ("EVENT", {}, {}), ("CLOSE",)])
async def test_a_message_that_is_unknown_gets_a_notice(peer: Peer, parts: tuple[Any, ...]) -> None:
    (frame,) = peer.say(*parts)
    assert frame[0] == "NOTICE"
    assert frame[1].partition(":")[0] in {"unsupported", "invalid"}


@pytest.mark.parametrize("text", [b'["REQ","s",{"#p":["%b"]', b'["CLOSE","s"', b'["AUTH",{}', b'["FOO"', b" [1"])
async def test_a_message_other_than_an_event_that_is_too_large_gets_a_notice_and_is_not_parsed(
    peer: Peer, hub: RelayHub, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr("bunker.relays.session._decode", lambda _: pytest.fail("parsed"))
    (frame,) = peer.text(text + b" " * hub.limits.request_bytes + b"]")
    assert frame == ["NOTICE", "invalid: the message is too large: at most 16384 bytes"]


async def test_an_event_may_be_as_large_as_a_frame_however_it_is_written(peer: Peer, hub: RelayHub) -> None:
    spaces = b" " * (hub.intake.limits.frame_bytes - 100)
    request = signed()
    assert peer.text(b' [ "EVENT" ,' + serialize(request) + spaces[:-2_000] + b"]") == [["OK", request.id, True, ""]]
    (frame,) = peer.text(b'["EVENT" ,{' + spaces + b" " * 100 + b"}]")
    assert frame == ["NOTICE", "invalid: the message is too large: at most 1048576 bytes"]


# EVENT


async def refused(peer: Peer, event: Event, prefix: str) -> None:
    (frame,) = peer.publish(event)
    assert frame[:3] == ["OK", event.id, False]
    assert frame[3].startswith(prefix + ": ")


@pytest.mark.compliance(spec="NIP-01", section="From relay to client: OK", requirement="refusals carry a prefix")
@pytest.mark.parametrize(
    ("event", "prefix"),
    [
        (signed(kind=1), "blocked"),
        (signed(to=STRANGER), "blocked"),
        (signed(to=OTHER_SIGNER), "blocked"),
        (reply(author=OTHER_SIGNER), "blocked"),
        (signed(tags=[]), "invalid"),
        (signed(at=1_000_000), "invalid"),
        (signed(tags=[["p", SIGNER.public_key_hex], ["expiration", "1"]]), "invalid"),
        (msgspec.structs.replace(signed(), content="changed"), "invalid"),
        (msgspec.structs.replace(signed(), sig="0" * 128), "invalid"),
    ],
)
async def test_an_event_that_is_not_for_us_is_refused_with_a_reason(
    peer: Peer, sink: Sink, event: Event, prefix: str
) -> None:
    await refused(peer, event, prefix)
    assert not sink.taken


async def test_an_event_that_does_not_parse_is_refused_under_the_id_it_claims(peer: Peer) -> None:
    event = serialize(signed()).replace(b'"kind":24133', b'"kind":true')
    (frame,) = peer.text(b'["EVENT",' + event + b"]")
    assert frame[0] == "OK"
    assert frame[2:] == [False, "invalid: this is not an event"]


async def test_an_event_without_an_id_gets_a_notice(peer: Peer) -> None:
    (frame,) = peer.say("EVENT", {"kind": 1})
    assert frame[0] == "NOTICE"


async def test_an_event_followed_by_more_is_refused(peer: Peer, sink: Sink) -> None:
    frames = peer.text(b'["EVENT",' + serialize(signed()) + b',{"x":1}]')
    assert [frame[2] for frame in frames] == [False]
    assert not sink.taken


@pytest.mark.parametrize("verdict", [DropReason.BUSY, DropReason.RATE_LIMITED])
async def test_an_event_that_the_worker_cannot_take_is_refused_and_may_come_again(
    peer: Peer, sink: Sink, verdict: DropReason
) -> None:
    event = signed()
    sink.verdict = verdict
    await refused(peer, event, OK_TEXT[verdict][1].partition(":")[0])
    sink.verdict = None
    assert peer.publish(event) == [["OK", event.id, True, ""]]


async def test_a_client_that_publishes_too_fast_is_told_so_and_slowed_down(sink: Sink, clock: Clock) -> None:
    hub = make_hub(sink, clock, events_per_second=2, frames_per_second=3)
    peer = Peer(hub)
    frames = [peer.publish(signed(content=str(number)))[0] for number in range(5)]
    assert [frame[2] for frame in frames] == [True, True, True, True, False]
    assert frames[4][3].startswith("rate-limited: ")
    assert [peer.session.handle(b"[]") > 0 for _ in range(2)] == [False, True]
    clock.now += 2
    assert peer.publish(signed(content="later"))[-1][2]


@pytest.mark.compliance(spec="NIP-01", section="From relay to client: OK", requirement="EVENT is answered with OK")
@pytest.mark.parametrize("layout", ['["EVENT",%s]', ' [ "EVENT" , %s ] ', '["EVENT",  %s  ]', '\n["EVENT",%s]\n'])
async def test_an_event_for_a_signer_reaches_the_worker(peer: Peer, sink: Sink, layout: str) -> None:
    event = signed()
    frames = peer.text((layout % serialize(event).decode()).encode())
    assert frames == [["OK", event.id, True, ""]]
    assert [(taken, raw, relay) for taken, raw, relay in sink.taken] == [(event, serialize(event), "built-in")]


@pytest.mark.compliance(spec="NIP-01", section="From relay to client: OK", requirement="duplicates are accepted")
async def test_the_same_event_again_is_accepted_as_a_duplicate(peer: Peer, sink: Sink) -> None:
    event = signed()
    peer.publish(event)
    ((*head, text),) = peer.publish(event)
    assert head == ["OK", event.id, True]
    assert text.startswith("duplicate: ")
    assert [found.id for found, _, _ in sink.taken] == [event.id] * 2  # the worker answers it once


async def test_an_ok_waits_for_the_reply_to_leave_in_one_write(hub: RelayHub, peer: Peer, sink: Sink) -> None:
    peer.subscribe(p=[ME])
    sink.on_receive = lambda event: None
    peer.session.handle(b'["EVENT",' + serialize(signed()) + b"]")
    assert peer.out.lazy == 1
    assert peer.out.take()[0][0] == "OK"


# Who sees what


async def test_a_relay_serves_its_own_tenants_signers_only(hub: RelayHub, sink: Sink) -> None:
    ours, theirs = Peer(hub), Peer(hub, OTHER_TENANT)
    ours.subscribe(p=[ME])
    theirs.subscribe(p=[ME])
    answer, other = reply(), reply(author=OTHER_SIGNER)
    hub.publish(answer, serialize(answer))
    hub.publish(other, serialize(other))
    assert [frame[2]["id"] for frame in ours.out.take()] == [answer.id]
    assert [frame[2]["id"] for frame in theirs.out.take()] == [other.id]
    assert [frame[2]["id"] for frame in Peer(hub).subscribe(p=[ME])[:-1]] == [answer.id]
    assert [frame[2]["id"] for frame in Peer(hub, OTHER_TENANT).subscribe(p=[ME])[:-1]] == [other.id]
    await refused(theirs, signed(), "blocked")
    assert not sink.taken


async def test_a_reply_that_comes_over_the_websocket_is_passed_on_but_not_to_the_worker(
    hub: RelayHub, peer: Peer, sink: Sink
) -> None:
    answer, listener = reply(), Peer(hub)
    listener.subscribe(p=[ME])
    assert peer.publish(answer) == [["OK", answer.id, True, ""]]
    assert [frame[2]["id"] for frame in listener.out.take()] == [answer.id]
    assert not sink.taken
    assert peer.publish(answer)[0][3].startswith("duplicate: ")


# Connections and workers that come and go


async def test_connections_are_bounded_by_address_and_in_all(clock: Clock) -> None:
    hub = make_hub(None, clock, connections=3, connections_per_ip=2)
    one, two = Peer(hub, address="192.0.2.1"), Peer(hub, address="192.0.2.1")
    assert hub.open(TENANT, "192.0.2.1", Out()) is None
    Peer(hub, address="192.0.2.2")
    assert hub.open(TENANT, "192.0.2.3", Out()) is None
    hub.close(one.session, "192.0.2.1")
    hub.close(two.session, "192.0.2.1")
    assert hub.connections == 1
    assert hub.open(TENANT, "192.0.2.1", Out()) is not None


async def test_a_closed_session_leaves_nothing_behind(hub: RelayHub, peer: Peer) -> None:
    peer.subscribe("a", p=[ME])
    peer.subscribe("b", authors=[ME])
    peer.subscribe("c", ids=["0" * 64])
    hub.close(peer.session, "192.0.2.1")
    assert [*hub._by_recipient, *hub._by_author, *hub._by_id, *hub._lazy, *hub._addresses] == []


async def test_an_address_shares_one_verification_budget(clock: Clock) -> None:
    hub = make_hub(Sink(), clock, verifications_per_ip=2)
    peers = [Peer(hub), Peer(hub), Peer(hub), Peer(hub, address="192.0.2.9")]
    verdicts = [peer.publish(signed(content=str(number)))[0][2] for number, peer in enumerate(peers)]
    assert verdicts == [True, True, False, True]


async def test_events_wait_for_a_worker_that_is_not_there_yet(clock: Clock) -> None:
    hub, sink = make_hub(None, clock, backlog_events=2), Sink()
    peer = Peer(hub)
    old, new, more, over = (signed(content=str(number)) for number in range(4))
    assert peer.publish(old)[0][2]
    clock.now += 61
    assert peer.publish(new)[0][2]
    assert peer.publish(more)[0][2]
    await refused(peer, over, "error")
    hub.attach(sink)
    assert sink.ids == [new.id, more.id]
    hub.detach(sink)
    peer.publish(signed(content="later"))
    assert len(sink.taken) == 2


async def test_a_detach_by_another_worker_changes_nothing(hub: RelayHub, peer: Peer, sink: Sink) -> None:
    hub.detach(Sink())
    peer.publish(signed())
    assert len(sink.taken) == 1


async def test_an_idle_session_without_subscriptions_is_noticed(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    clock.now += 100
    assert peer.session.is_idle(99)
    peer.say("CLOSE", "x")
    assert not peer.session.is_idle(99)
    peer.subscribe(p=[ME])
    clock.now += 1000
    assert not peer.session.is_idle(99)


def test_every_drop_has_an_answer_for_the_sender() -> None:
    prefixes = {text.partition(":")[0] for accepted, text in OK_TEXT.values() if text or not accepted}
    assert set(OK_TEXT) == set(DropReason)
    assert prefixes <= {"invalid", "blocked", "duplicate", "rate-limited", "error", "restricted"}
