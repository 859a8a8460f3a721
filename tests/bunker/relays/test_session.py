"""NIP-01 as the built-in relay speaks it: one session, no sockets. Refusals first."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import DropReason
from bunker.relays.session import OK_TEXT, RelaySession
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
    Sink,
    make_hub,
    reply,
    signed,
)

ME = CLIENT.public_key_hex


class Peer:
    """A client of the hub without a socket."""

    def __init__(self, hub: RelayHub, scope: str = TENANT, address: str = "192.0.2.1") -> None:
        self.out = Out()
        session = hub.open(scope, address, self.out)
        assert session is not None
        self.session: RelaySession = session

    def say(self, *parts: Any) -> list[Any]:
        return self.text(json.dumps(parts).encode())

    def text(self, text: bytes) -> list[Any]:
        self.session.handle(text)
        return self.out.take()

    def publish(self, event: Event) -> list[Any]:
        return self.text(b'["EVENT",' + serialize(event) + b"]")

    def subscribe(self, name: str = "s", **filter_: Any) -> list[Any]:
        return self.say("REQ", name, {("#p" if key == "p" else key): value for key, value in filter_.items()})


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


async def test_a_message_that_is_too_large_gets_a_notice_and_is_not_parsed(peer: Peer, hub: RelayHub) -> None:
    (frame,) = peer.text(b'["REQ","s",' + b" " * hub.intake.limits.frame_bytes + b"{}]")
    assert frame == ["NOTICE", "invalid: the message is too large"]


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


# REQ


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
        {"authors": [ME] * 1001},
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
    assert peer.say("REQ", "s", *[{"authors": [ME]}] * 3)[0][0] == "CLOSED"
    assert peer.subscribe("a", authors=[ME]) == [["EOSE", "a"]]
    assert peer.subscribe("b", authors=[ME]) == [["EOSE", "b"]]
    assert peer.subscribe("c", authors=[ME]) == [["CLOSED", "c", "rate-limited: too many subscriptions"]]
    assert peer.subscribe("b", p=[ME]) == [["EOSE", "b"]]
    assert peer.say("CLOSE", "a") == []
    assert peer.subscribe("c", authors=[ME]) == [["EOSE", "c"]]


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
        {"authors": []},
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
        {"authors": [SIGNER.public_key_hex]},
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
    frames = peer.say("REQ", "s", {"#p": [ME]}, {"authors": [signer]}, {"ids": [answer.id]})
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
    assert len(hub._memory._by_recipient[ME]) == 10


async def test_what_is_stored_never_fills_a_clients_queue(clock: Clock) -> None:
    hub = make_hub(None, clock, queue_bytes=10_000)
    for number in range(30):
        answer = reply(content=str(number) * 500)
        hub.publish(answer, serialize(answer))
    assert 1 < len(Peer(hub).subscribe(p=[ME])) < 20


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


async def test_a_request_reaches_whoever_watches_for_it_in_the_same_tenant(hub: RelayHub, sink: Sink) -> None:
    watcher, stranger = Peer(hub), Peer(hub, OTHER_TENANT)
    for peer in (watcher, stranger):
        peer.subscribe("a", authors=[ME])
    request = signed()
    Peer(hub).publish(request)
    assert [frame[2]["id"] for frame in watcher.out.take()] == [request.id]
    assert stranger.out.take() == []


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


async def test_authentication_is_declined(peer: Peer) -> None:
    event = serialize(signed(kind=22242, tags=[]))
    (frame,) = peer.text(b'["AUTH",' + event + b"]")
    assert frame[0] == "OK"
    assert frame[2] is False


def test_every_drop_has_an_answer_for_the_sender() -> None:
    prefixes = {text.partition(":")[0] for _, text in OK_TEXT.values()}
    assert set(OK_TEXT) == set(DropReason)
    assert prefixes <= {"invalid", "blocked", "duplicate", "rate-limited", "error", "restricted"}
