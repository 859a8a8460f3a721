"""Outbound relays that behave: connections, subscriptions and health."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from bunker.relays.interfaces import PublishState, RelayStatus
from bunker.relays.limits import OutboundLimits
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.double import QUICK, Double, pool, publish
from tests.bunker.relays.support import CLIENT, OTHER_SIGNER, SIGNER, reply, signed
from tests.waiting import eventually

# Refusals


async def test_a_redirect_is_not_followed() -> None:
    target = Double()

    async def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = target.url
        return response

    relay = Double()
    async with target.serving(), relay.serving(process_request=redirect), pool() as home:
        home.want(relay)
        await eventually(lambda: home.row(relay).failures > 2)
        assert not target.connections
        assert home.row(relay).status is not RelayStatus.LIVE


@pytest.mark.parametrize("url", ["ws://10.0.0.1", "wss://localhost", "wss://relay.example.com:22"])
async def test_a_relay_that_the_guard_refuses_is_never_live(url: str) -> None:
    async with pool() as home:
        home.pool.set_wanted({url: {SIGNER.public_key_hex}})
        await eventually(lambda: home.pool.health()[0].status is RelayStatus.REFUSED)
        assert home.pool.health()[0].score == 0.0


@pytest.mark.parametrize("url", ["", "https://relay.example.com", "wss://user@relay.example.com", "x" * 2000])
async def test_what_is_not_a_relay_url_is_left_out(url: str) -> None:
    async with pool() as home:
        home.pool.set_wanted({url: {SIGNER.public_key_hex}})
        assert home.pool.health() == []


async def test_relays_are_bounded() -> None:
    async with pool(replace(QUICK, relays=2)) as home:
        home.pool.set_wanted({f"wss://{name}.localhost": {SIGNER.public_key_hex} for name in "abcd"})
        assert len(home.pool.health()) == 2


async def test_publishing_to_no_relay_settles_at_once() -> None:
    async with pool() as home:
        publication, settled = publish(home, reply())
        assert settled == [publication]
        assert not publication.is_accepted


async def test_publishing_to_a_relay_that_is_never_wanted_ends_with_its_time() -> None:
    relay = Double(url="ws://127.0.0.1:1")
    async with pool() as home:
        publication, settled = publish(home, reply(), relay, seconds=0.2)
        assert not settled
        await eventually(lambda: settled == [publication])
        assert publication.states == {relay.url: PublishState.EXPIRED}
        assert publication.reasons[relay.url] == "not connected to this relay"


async def test_publications_that_wait_for_a_link_are_bounded() -> None:
    relay, other = Double(url="ws://127.0.0.1:1"), Double(url="ws://127.0.0.1:2")
    async with pool(replace(QUICK, pending=20)) as home:
        found = [publish(home, reply(content=str(number)), relay)[0] for number in range(3)]
        assert [publication.states[relay.url] for publication in found] == [
            PublishState.PENDING,
            PublishState.PENDING,
            PublishState.REFUSED,
        ]
        assert not publish(home, reply(), other)[1]  # one relay leaves room for others


async def test_a_reply_for_a_relay_that_becomes_wanted_waits_for_its_link() -> None:
    relay = Double()
    async with relay.serving(), pool() as home:
        event = reply()
        publication, settled = publish(home, event, relay)
        assert not settled
        home.want(relay)
        await eventually(lambda: settled == [publication])
        assert publication.states == {relay.url: PublishState.ACCEPTED}
        assert [parts[1]["id"] for parts in relay.asked("EVENT")] == [event.id]


async def test_an_event_too_large_for_common_relays_does_not_fit() -> None:
    relay = Double(url="ws://127.0.0.1:1")
    async with pool() as home:
        assert not home.pool.fits(100, [relay.url])
        home.want(relay)
        assert home.pool.fits(60_000, [relay.url])
        assert not home.pool.fits(65_536, [relay.url])


# Subscriptions


@pytest.mark.compliance(spec="NIP-46", section="Request Events", requirement="the signer listens by its p tag")
async def test_it_subscribes_by_p_and_hands_over_what_comes() -> None:
    relay, before = Double(), int(time.time())
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        (_, name, wanted), after = relay.asked("REQ")[0], int(time.time())
        assert wanted["#p"] == [SIGNER.public_key_hex]
        assert wanted["kinds"] == [24133]
        assert before - 300 <= wanted["since"] <= after - 300
        request = signed()
        await relay.send(request, name)
        await eventually(lambda: home.sink.taken)
        assert home.sink.taken == [(request, serialize_like_json(request), relay.url)]
        await eventually(lambda: home.row(relay).status is RelayStatus.LIVE)
        assert home.row(relay).eose_ms is not None


def serialize_like_json(event: Event) -> bytes:
    return json.dumps(json.loads(serialize(event))).encode()


async def test_the_same_event_from_two_relays_is_handed_over_once() -> None:
    one, two = Double(), Double()
    async with one.serving(), two.serving(), pool() as home:
        home.want(one, two)
        await home.live(one, two)
        request = signed()
        await asyncio.gather(one.send(request), two.send(request), one.send(request))
        await eventually(lambda: home.sink.taken)
        await asyncio.sleep(0.05)
        assert home.sink.ids == [request.id]


async def test_a_change_of_keys_changes_one_subscription_and_none_when_nothing_changed() -> None:
    relay = Double()
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        home.want(relay)
        home.want(relay, keys=[SIGNER.public_key_hex, OTHER_SIGNER.public_key_hex])
        await eventually(lambda: len(relay.asked("REQ")) == 2)
        assert relay.heard[-1][2]["#p"] == sorted([SIGNER.public_key_hex, OTHER_SIGNER.public_key_hex])
        assert len(relay.connections) == 1


async def test_many_keys_take_the_kind_wide_subscription_and_chunks_if_it_is_refused() -> None:
    async def refuse_wide(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "REQ" and "#p" not in parts[2]:
            await relay.say(connection, "CLOSED", parts[1], "restricted: too broad")
            return True
        return False

    relay = Double(refuse_wide)
    keys = [SIGNER.public_key_hex, *(f"{number:064x}" for number in range(9))]
    async with relay.serving(), pool(replace(QUICK, keys_per_filter=2, subscriptions=3)) as home:
        home.want(relay, keys=keys)
        await eventually(lambda: len(relay.asked("REQ")) == 4)
        assert "#p" not in relay.asked("REQ")[0][2]
        assert sorted(key for parts in relay.asked("REQ")[1:] for key in parts[2]["#p"]) == sorted(keys)


async def test_a_relay_that_is_no_longer_wanted_is_closed_properly() -> None:
    relay = Double()
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        home.want()
        await asyncio.wait_for(relay.connections[0].wait_closed(), 2)
        assert relay.connections[0].close_code == 1000
        assert home.pool.health() == []


async def test_stopping_closes_every_connection_properly() -> None:
    relay = Double()
    async with relay.serving():
        async with pool() as home:
            home.want(relay)
            await home.live(relay)
        assert relay.connections[0].close_code == 1000


def test_the_defaults_fit_common_relays() -> None:
    limits = OutboundLimits()
    assert limits.keys_per_filter <= 256
    assert limits.subscriptions <= 10
    assert limits.event_bytes <= 65_536


def test_clients_and_signers_differ() -> None:
    assert CLIENT.public_key_hex != SIGNER.public_key_hex
