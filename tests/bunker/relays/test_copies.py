"""A reply that many subscriptions of one connection want: who gets it first, who later, and what is bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bunker.relays import copies
from bunker.relays.copies import (
    AT_ONCE,
    FRAMES_PER_TICK,
    MOST_REPLIES,
    MOST_SECONDS,
    QUIET_SECONDS,
    RequestOrder,
    WaitingCopies,
)
from bunker.relays.hub import RelayHub
from bunker.relays.session import Subscription
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import CLIENT, SIGNER, Clock, Peer, Sink, make_hub, reply, served, signed
from tests.bunker.relays.support import client as connected
from tests.waiting import eventually

ME, IT = CLIENT.public_key_hex, SIGNER.public_key_hex
FILTER = {"kinds": [24133], "authors": [IT], "#p": [ME]}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub(clock: Clock) -> RelayHub:
    return make_hub(Sink(), clock)


@pytest.fixture
async def peer(hub: RelayHub) -> Peer:
    return Peer(hub)


def ask(peer: Peer, name: str) -> Event:
    """A request, as a client sends it once its subscription is open."""
    request = signed(content=name)
    assert peer.publish(request)[-1][2]
    return request


def opens(peer: Peer, *names: str) -> None:
    for name in names:
        assert peer.say("REQ", name, FILTER) == [["EOSE", name]]


def answer(hub: RelayHub, request: Event, content: str = "answer") -> Event:
    event = reply(content=content + request.id, tags=[["p", ME], ["e", request.id]])
    hub.publish(event, serialize(event))
    return event


def heard(peer: Peer) -> list[str]:
    """Names of the subscriptions that were sent an event since the last look, in order."""
    return [frame[1] for frame in peer.out.take() if frame[0] == "EVENT"]


def waiting(peer: Peer) -> WaitingCopies:
    found = peer.session._copies
    assert found is not None
    return found


NAMES = [f"r{number}" for number in range(20)]


async def test_of_few_subscriptions_each_has_it_at_once(hub: RelayHub, peer: Peer) -> None:
    opens(peer, *NAMES[:AT_ONCE])
    answer(hub, ask(peer, "x"))
    assert sorted(heard(peer)) == NAMES[:AT_ONCE]
    assert peer.session._copies is None


@pytest.mark.parametrize("order", ["in pairs", "subscriptions first", "after one that stays"])
async def test_each_request_is_answered_at_its_own_subscription_first(
    hub: RelayHub, peer: Peer, clock: Clock, order: str
) -> None:
    requests = []
    if order == "after one that stays":
        opens(peer, "stays")
        ask(peer, "connect")
    if order == "subscriptions first":
        opens(peer, *NAMES)
        requests = [ask(peer, name) for name in NAMES]
    else:
        for name in NAMES:
            opens(peer, name)
            requests.append(ask(peer, name))
    for name, request in zip(NAMES[:-AT_ONCE], requests[:-AT_ONCE], strict=True):
        answer(hub, request)
        assert heard(peer) == [name]
        peer.say("CLOSE", name)


async def test_a_subscription_is_for_one_request_while_others_are_free_and_never_once_it_is_closed(
    peer: Peer,
) -> None:
    def named(*names: str) -> list[Subscription]:
        return [Subscription(peer.session, name, []) for name in names]

    order = RequestOrder()
    assert order.of_next_request() is None
    notices, first, second, third, fourth = named("notices", "first", "second", "third", "fourth")
    for subscription in (notices, first):
        order.opened(subscription)
    assert order.of_next_request() is notices
    order.opened(second)
    assert order.of_next_request() is second  # and not the first, which is free as well
    for subscription in (third, fourth):
        order.opened(subscription)
    order.closed(first)
    assert order.of_next_request() is third
    assert [order.of_next_request() for _ in range(3)] == [fourth] * 3
    order.closed(fourth)
    assert order.of_next_request() is None


async def test_what_is_closed_meanwhile_gets_no_copy(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    requests = []
    for name in NAMES:
        opens(peer, name)
        requests.append(ask(peer, name))
    for request in requests:
        answer(hub, request)
    assert heard(peer) == NAMES
    for name in NAMES:
        clock.now += MOST_SECONDS / 100
        waiting(peer).tick()
        peer.say("CLOSE", name)
    clock.now += MOST_SECONDS
    waiting(peer).tick()
    assert heard(peer) == []
    assert len(waiting(peer)) == 0


async def test_what_stays_open_gets_each_reply_once_when_the_client_is_done(
    hub: RelayHub, peer: Peer, clock: Clock
) -> None:
    assert peer.say("REQ", "other", {"#p": ["0" * 64]}) == [["EOSE", "other"]]
    assert peer.say("REQ", "by author", {"#p": [ME], "authors": [IT], "since": 2**40}) == [["EOSE", "by author"]]
    opens(peer, *NAMES[:6])
    requests = [ask(peer, "1"), ask(peer, "2")]
    first, second = (answer(hub, request) for request in requests)
    firsts = heard(peer)
    assert len(firsts) == 2
    opens(peer, "later")
    clock.now += QUIET_SECONDS - 0.01
    waiting(peer).tick()
    assert heard(peer) == []
    clock.now += 0.02
    waiting(peer).tick()
    copied = [(frame[1], frame[2]["id"]) for frame in peer.out.take()]
    assert sorted(copied) == sorted(
        [(name, first.id) for name in NAMES[:6] if name != firsts[0]]
        + [(name, second.id) for name in NAMES[:6] if name != firsts[1]]
    )
    clock.now += 60
    waiting(peer).tick()
    assert heard(peer) == []


async def test_a_reply_to_somebody_elses_request_goes_to_the_oldest_first(hub: RelayHub, peer: Peer) -> None:
    opens(peer, *NAMES)
    answer(hub, signed(content="by another connection"))
    assert heard(peer) == ["r0"]


async def test_another_connection_does_not_wait(hub: RelayHub, peer: Peer) -> None:
    other = Peer(hub)
    opens(peer, *NAMES)
    opens(other, "only")
    answer(hub, ask(peer, "x"))
    assert heard(peer) == ["r0"]
    assert heard(other) == ["only"]


async def test_copies_wait_no_longer_than_so_long_for_a_client_that_goes_on_closing(
    hub: RelayHub, peer: Peer, clock: Clock
) -> None:
    opens(peer, *NAMES)
    answer(hub, ask(peer, "x"))
    peer.out.take()
    for name in NAMES[1:8]:
        clock.now += QUIET_SECONDS - 0.1
        peer.say("CLOSE", name)
        waiting(peer).tick()
    assert heard(peer) == []
    clock.now += QUIET_SECONDS - 0.1
    peer.say("CLOSE", NAMES[8])
    waiting(peer).tick()
    assert heard(peer) == NAMES[9:]


async def test_so_many_frames_leave_at_a_time(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    names = [f"n{number}" for number in range(FRAMES_PER_TICK + 10)]
    opens(peer, *names)
    answer(hub, ask(peer, "x"))
    answer(hub, ask(peer, "y"), "second")
    peer.out.take()
    clock.now += QUIET_SECONDS
    sent = []
    for _ in range(4):
        waiting(peer).tick()
        sent.append(len(heard(peer)))
    assert sent == [FRAMES_PER_TICK, FRAMES_PER_TICK, 2 * (len(names) - 1) - 2 * FRAMES_PER_TICK, 0]


async def test_what_is_closed_between_two_ticks_gets_no_copy(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    names = [f"n{number}" for number in range(FRAMES_PER_TICK + 10)]
    opens(peer, *names)
    answer(hub, ask(peer, "x"))
    clock.now += QUIET_SECONDS
    waiting(peer).tick()
    peer.out.take()
    peer.say("CLOSE", names[-1])
    clock.now += QUIET_SECONDS
    waiting(peer).tick()
    assert heard(peer) == names[-9:-1]


async def test_a_client_that_does_not_read_gets_no_copy_until_it_does(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    opens(peer, *NAMES)
    answer(hub, ask(peer, "x"))
    peer.out.take()
    clock.now += QUIET_SECONDS
    peer.out.waiting = hub.limits.queue_bytes // 4
    waiting(peer).tick()
    assert heard(peer) == []
    peer.out.waiting = 0
    waiting(peer).tick()
    assert len(heard(peer)) == len(NAMES) - 1


async def test_what_waits_is_bounded_in_number_and_bytes(clock: Clock) -> None:
    hub = make_hub(Sink(), clock, queue_bytes=50_000)
    peer = Peer(hub)
    opens(peer, *NAMES)
    for number in range(10):
        answer(hub, ask(peer, str(number)), "x" * 10_000)
    assert len(waiting(peer)) == 4
    for number in range(MOST_REPLIES + 5):
        waiting(peer).add(reply(), ME, b"", peer.session.subscriptions["r0"], number)
    assert len(waiting(peer)) == MOST_REPLIES


async def test_nothing_waits_for_a_connection_that_has_ended(hub: RelayHub, peer: Peer, clock: Clock) -> None:
    opens(peer, *NAMES)
    request = ask(peer, "x")
    answer(hub, request)
    found = waiting(peer)
    timer = found._timer
    assert timer is not None
    peer.session.close()
    assert timer.cancelled()
    assert (len(found), found._timer) == (0, None)
    answer(hub, request)
    assert len(heard(peer)) == 1


async def test_the_stored_answer_goes_to_the_subscription_of_the_resent_request_first(
    hub: RelayHub, peer: Peer
) -> None:
    request = ask(peer, "x")
    answer(hub, request)
    again = Peer(hub)
    for name in NAMES:
        again.say("REQ", name, {**FILTER, "limit": 0})
        again.publish(signed(content=name))
    again.say("REQ", "resent", {**FILTER, "limit": 0})
    assert [frame[:2] for frame in again.publish(request) if frame[0] == "EVENT"] == [["EVENT", "resent"]]


async def test_the_sender_of_an_event_that_came_again_hears_that_nobody_can_answer_it(
    hub: RelayHub, peer: Peer
) -> None:
    request, again = ask(peer, "x"), Peer(hub)
    again.publish(request)
    hub.refuse(request.id, "invalid: no")
    assert again.out.take() == [["OK", request.id, False, "invalid: no"]]
    assert peer.out.take() == []


async def test_over_a_socket_a_hundred_subscriptions_and_requests_keep_their_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As nostrify does it, by a client that reads nothing until all were answered: 100 times 100 copies are 30 MB."""
    monkeypatch.setattr(copies, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(copies, "QUIET_SECONDS", 0.0)
    sink = Sink()
    hub = make_hub(sink, queue_bytes=500_000)
    async with served(hub) as url, connected(url) as nostr:
        for number in range(100):
            await nostr.say("REQ", f"r{number}", FILTER)
            await nostr.socket.send('["EVENT",' + serialize(signed(content=str(number))).decode() + "]")
        await eventually(lambda: len(sink.taken) == 100)
        for event, _, _ in sink.taken:
            answer(hub, event, "x" * 3_000)
            await asyncio.sleep(0)
        seen: dict[str, set[str]] = {}
        while sum(map(len, seen.values())) < 100 * 100:
            frame: Any = json.loads(await asyncio.wait_for(nostr.socket.recv(), 20))
            if frame[0] == "EVENT":
                assert frame[2]["id"] not in seen.setdefault(frame[1], set())
                seen[frame[1]].add(frame[2]["id"])
