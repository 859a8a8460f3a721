"""Memory that strangers and tenants share at the built-in relay: counted in bytes and events. Refusals first."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from bunker.relays.backlog import Backlog
from bunker.relays.event_checks import IntakeSource
from bunker.relays.limits import BuiltInLimits
from bunker.relays.reply_memory import ReplyMemory
from bunker.relays.requested_filters import bytes_of
from bunker.relays.shared_bound import Holding, SharedBound
from keycast.base.token_bucket import TokenBucket
from keycast.nostr.nip01 import Event
from tests.bunker.relays.support import CLIENT, OTHER_TENANT, TENANT, Clock, Peer, make_hub, reply

ME = CLIENT.public_key_hex
FULL = BuiltInLimits()


# A bound for each and for all


def test_neither_one_owner_nor_all_together_get_more_than_their_bound() -> None:
    bound = SharedBound(10, 15)
    assert bound.change("a", 10)
    assert not bound.change("a", 1)
    assert not bound.change("b", 6)
    assert bound.change("b", 5)
    assert bound.change("a", -10)
    assert (bound.of("a"), bound.of("b"), bound.total) == (0, 5, 5)


def test_a_holding_counts_what_is_beyond_its_free_part_and_gives_it_back() -> None:
    bound = SharedBound(10, 10)
    first, second = Holding(bound, "a", 5), Holding(bound, "a", 5)
    assert first.resize(5)
    assert bound.total == 0
    assert first.resize(14)
    assert not second.has_room(7)
    assert not second.resize(7)
    assert bound.total == 9
    other = SharedBound(100, 100)
    first.move(other, "tenant")
    assert (bound.total, other.of("tenant")) == (0, 9)
    assert first.resize(0)
    assert other.total == 0


# Subscriptions


def keys(count: int, start: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(start, start + count)]


def fill(peers: list[Peer], filters: Any) -> int:
    """Open subscriptions until each connection is refused; returns the bytes that were sent."""
    sent = number = 0
    for peer in peers:
        for name in range(FULL.subscriptions):
            text = json.dumps(["REQ", f"{name:064}", *filters(number)]).encode()
            number += 1
            sent += len(text)
            peer.session.handle(text)
            if peer.out.take()[-1][0] == "CLOSED":
                break
    return sent


@pytest.mark.parametrize(
    "filters",
    [
        lambda number: [{"#p": keys(200, 200 * number)}],
        lambda number: [{"#p": keys(1, number), "#t": [f"{number}-{item}" + "x" * 100 for item in range(20)]}],
        lambda number: [{"#p": keys(1, number), "#e": ["x"]}] * 10,
        lambda number: [{"#p": keys(20, 20 * number), "kinds": list(range(200))}],
        lambda number: [{"#p": keys(1, number)}],
    ],
)
async def test_subscriptions_take_no_more_memory_than_is_counted(filters: Any) -> None:
    """The limits of one address at a sixteenth of their size, so that the test is quick; the ratio is the same."""
    hub = make_hub(None, Clock(), subscription_bytes_per_ip=2 << 20, subscription_bytes_free=0, work_per_ip=10**9)
    peers = [Peer(hub) for _ in range(20)]
    fill(peers[:1], filters)  # whatever is made on first use
    hub.close(peers[0].session, peers[0].session.address)
    peers[0] = Peer(hub)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fill(peers, filters)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = hub.subscription_bytes.of("192.0.2.1")
    assert 0 < counted <= 2 << 20
    assert grown < counted + (256 << 10), (grown, counted)
    for peer in peers:
        hub.close(peer.session, peer.session.address)
    assert hub.subscription_bytes.total == 0


async def test_a_few_subscriptions_are_always_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = make_hub(None, Clock(), subscription_bytes=10_000, subscription_bytes_free=4_000)
    greedy = Peer(hub)
    assert greedy.subscribe("a", p=keys(20)) == [["EOSE", "a"]]
    assert greedy.subscribe("b", p=keys(20))[0][2].startswith("rate-limited: ")
    assert greedy.subscribe("a", p=keys(19)) == [["EOSE", "a"]]
    modest = Peer(hub, address="192.0.2.2")
    assert modest.subscribe("a", p=keys(1)) == [["EOSE", "a"]]
    assert modest.subscribe("b", p=keys(1)) == [["EOSE", "b"]]


async def test_a_subscription_that_is_gone_keeps_nothing_large() -> None:
    """The relay knows the senders of the last events, and what they waited on, for a while."""
    hub = make_hub(None, Clock())
    peer = Peer(hub)
    peer.subscribe("a", p=keys(100))
    subscription = peer.session.subscriptions["a"]
    assert bytes_of(subscription.filters) == subscription.size > 50_000
    peer.say("CLOSE", "a")
    assert bytes_of(subscription.filters) == 0


# Replies


def remembered(memory: ReplyMemory, tenant: str, count: int, size: int = 100, start: int = 0) -> None:
    template = reply()
    for number in range(start, start + count):
        event = msgspec.structs.replace(template, id=f"{tenant}{number:032x}")
        memory.add(tenant, event, ME, b"x" * size)


@pytest.mark.parametrize(("events", "size"), [(100, 10**9), (10**9, 10_000)])
def test_a_busy_tenant_makes_no_other_forget(events: int, size: int) -> None:
    memory = ReplyMemory(60, events, size, Clock())
    remembered(memory, OTHER_TENANT, 30)
    remembered(memory, TENANT, 1_000)
    assert memory.count_of(OTHER_TENANT) == 30
    assert memory.count_of(TENANT) == 70
    remembered(memory, OTHER_TENANT, 40, start=30)
    assert memory.count_of(OTHER_TENANT) == 50
    assert (len(memory), memory.size) == (100, 10_000)


def test_one_tenant_may_have_all_of_the_memory() -> None:
    memory = ReplyMemory(60, 100, 10**9, Clock())
    remembered(memory, TENANT, 1_000)
    assert memory.count_of(TENANT) == 100


def test_what_is_too_old_makes_room_first_whoever_had_it() -> None:
    clock = Clock()
    memory = ReplyMemory(60, 100, 10**9, clock)
    remembered(memory, OTHER_TENANT, 50)
    clock.now += 61
    remembered(memory, TENANT, 1_000)
    assert memory.count_of(TENANT) == 100
    assert (len(memory), memory.size) == (100, 10_000)


async def test_a_tenants_replies_are_not_to_be_had_on_anothers_host() -> None:
    hub = make_hub(None, Clock())
    answer = reply()
    hub.publish(answer, msgspec.json.encode(answer))
    assert Peer(hub, OTHER_TENANT).subscribe(p=[ME]) == [["EOSE", "s"]]
    assert len(Peer(hub).subscribe(p=[ME])) == 2


# Requests that wait for a worker


def source(tenant: str) -> IntakeSource:
    return IntakeSource("built-in", TokenBucket(1, 1), tenant)


def waiting_of(backlog: Backlog, tenant: str, count: int, size: int = 1) -> int:
    event: Event = reply()
    return sum(backlog.keep(event, b"x" * size, source(tenant)) for _ in range(count))


def test_requests_that_wait_are_bounded_by_number_and_bytes_and_one_tenant_has_not_all() -> None:
    clock = Clock()
    backlog = Backlog(60, 100, 10_000, clock)
    assert waiting_of(backlog, TENANT, 200) == 75
    assert waiting_of(backlog, OTHER_TENANT, 200) == 25
    assert len(backlog.take()) == 100
    assert waiting_of(backlog, TENANT, 200, 1_000) == 7
    assert waiting_of(backlog, OTHER_TENANT, 200, 1_000) == 3
    clock.now += 61
    assert backlog.take() == []
    assert waiting_of(backlog, TENANT, 200, 1_000) == 7
