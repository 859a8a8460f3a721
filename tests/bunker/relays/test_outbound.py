"""Outbound relays that behave: subscriptions, publishing until accepted, NIP-42, health."""

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

from bunker.relays.interfaces import DropReason, Publication, PublishState, RelayStatus
from bunker.relays.limits import OutboundLimits
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of, serialize, verify_event
from tests.bunker.relays.double import QUICK, Double, pool
from tests.bunker.relays.support import CLIENT, OTHER_SIGNER, SIGNER, reply, signed
from tests.waiting import eventually

SOON = 60.0


def publish(home: Any, event: Event, *relays: Double, seconds: float = SOON) -> tuple[Publication, list[Publication]]:
    settled: list[Publication] = []
    publication = home.pool.publish(
        event,
        serialize(event),
        [relay.url for relay in relays],
        expires_at=time.time() + seconds,
        on_settled=settled.append,
    )
    return publication, settled


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


# Publishing


async def test_a_reply_is_published_until_the_relay_says_ok() -> None:
    relay = Double()
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        event = reply()
        publication, settled = publish(home, event, relay)
        assert settled == []
        await eventually(lambda: settled)
        assert publication.is_accepted
        assert publication.states == {relay.url: PublishState.ACCEPTED}
        assert relay.asked("EVENT") == [["EVENT", json.loads(serialize(event))]]
        assert home.row(relay).accepted == 1
        assert home.row(relay).ok_ms is not None


async def test_a_reply_waits_for_a_relay_that_is_away() -> None:
    relay, down = Double(), True

    async def unavailable(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "") if down else None

    async with relay.serving(process_request=unavailable), pool() as home:
        home.want(relay)
        await eventually(lambda: home.row(relay).failures > 0)
        publication, settled = publish(home, reply(), relay)
        await asyncio.sleep(0.1)
        assert publication.is_pending
        down = False
        await eventually(lambda: settled)
        assert publication.is_accepted


async def test_a_reply_is_sent_again_after_a_reconnect_when_no_ok_came() -> None:
    async def deaf_once(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "EVENT" and len(relay.connections) == 1:
            connection.transport.abort()
            return True
        return False

    relay = Double(deaf_once)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: settled)
        assert publication.is_accepted
        assert len(relay.asked("EVENT")) == 2
        assert len(relay.asked("REQ")) == 2


async def test_an_ok_for_another_id_is_not_taken_for_ours() -> None:
    async def wrong_ok(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "EVENT":
            await relay.say(connection, "OK", "f" * 64, True, "")
            return True
        return False

    relay = Double(wrong_ok)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: home.row(relay).drops.get(DropReason.UNASKED.value))
        assert publication.is_pending
        assert settled == []


@pytest.mark.parametrize("text", ["blocked: no", "invalid: too large", "pow: 20", "restricted: no", "no prefix", ""])
async def test_a_refusal_settles_with_the_relays_words_cut_short(text: str) -> None:
    async def refuse(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "EVENT":
            await relay.say(connection, "OK", parts[1]["id"], False, text + "\n\x1b[31m" + "x" * 5_000)
            return True
        return False

    relay = Double(refuse)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: settled)
        assert publication.states[relay.url] is PublishState.REFUSED
        assert len(publication.reasons[relay.url]) <= 120
        assert publication.reasons[relay.url].isprintable()
        assert home.row(relay).refused == 1


async def test_a_duplicate_counts_as_accepted() -> None:
    async def duplicate(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "EVENT":
            await relay.say(connection, "OK", parts[1]["id"], False, "duplicate: have it")
            return True
        return False

    relay = Double(duplicate)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: settled)
        assert publication.is_accepted


async def test_a_relay_that_is_busy_is_asked_again_but_not_without_end(monkeypatch: Any) -> None:
    async def busy(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "EVENT":
            await relay.say(connection, "OK", parts[1]["id"], False, "rate-limited: slow down")
            return True
        return False

    relay = Double(busy)
    async with relay.serving(), pool(replace(QUICK, tries=2)) as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: settled)
        assert publication.states[relay.url] is PublishState.REFUSED
        assert len(relay.asked("EVENT")) == 2


async def test_a_reply_expires() -> None:
    async def silent(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        return parts[0] == "EVENT"

    relay = Double(silent)
    async with relay.serving(), pool() as home:
        home.want(relay)
        await home.live(relay)
        publication, settled = publish(home, reply(), relay, seconds=0.2)
        await eventually(lambda: settled)
        assert publication.states[relay.url] is PublishState.EXPIRED
        assert home.row(relay).queued == 0


async def test_the_first_acceptance_settles_and_the_other_relays_go_on() -> None:
    async def silent(relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        return parts[0] == "EVENT"

    good, bad = Double(), Double(silent)
    async with good.serving(), bad.serving(), pool() as home:
        home.want(good, bad)
        await home.live(good, bad)
        publication, settled = publish(home, reply(), good, bad)
        await eventually(lambda: settled)
        assert publication.states == {good.url: PublishState.ACCEPTED, bad.url: PublishState.PENDING}
        assert home.pool.health()[0].url == good.url
        home.want(good)
        assert publication.states[bad.url] is PublishState.EXPIRED
        assert len(settled) == 1


async def test_what_waits_for_a_relay_is_bounded() -> None:
    relay = Double(url="ws://127.0.0.1:1")
    async with pool(replace(QUICK, pending=3)) as home:
        home.want(relay)
        found = [publish(home, reply(content=str(number)), relay)[0] for number in range(5)]
        assert [item.states[relay.url] for item in found] == [PublishState.PENDING] * 3 + [PublishState.REFUSED] * 2


async def test_the_same_reply_published_again_settles_both() -> None:
    relay = Double(url="ws://127.0.0.1:1")
    async with pool() as home:
        home.want(relay)
        event = reply()
        (first, first_settled), (second, second_settled) = publish(home, event, relay), publish(home, event, relay)
        assert first_settled == [first]
        assert second_settled == []
        home.want()
        assert second_settled == [second]


# NIP-42


class Authenticator:
    """The worker's hook."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def sign_auth(self, public_key: str, event: UnsignedEvent) -> Event | None:
        self.asked.append(public_key)
        if public_key != SIGNER.public_key_hex:
            return None
        digest = id_of(event)
        return event.signed(digest.hex(), SIGNER.sign(digest))


class Guarded:
    """A relay that wants NIP-42 before it does anything."""

    def __init__(self) -> None:
        self.is_open = False
        self.authenticated: list[Event] = []

    async def greet(self, connection: ServerConnection) -> None:
        await connection.send('["AUTH","old challenge"]')
        await connection.send('["AUTH","challenge"]')

    async def __call__(self, relay: Double, connection: ServerConnection, parts: list[Any]) -> bool:
        if parts[0] == "AUTH":
            event = Event(**parts[1])
            self.is_open = verify_event(event) and ["challenge", "challenge"] in event.tags
            self.authenticated.append(event)
            await relay.say(connection, "OK", event.id, self.is_open, "")
        elif self.is_open:
            return False
        elif parts[0] == "REQ":
            await relay.say(connection, "CLOSED", parts[1], "auth-required: who are you")
        elif parts[0] == "EVENT":
            await relay.say(connection, "OK", parts[1]["id"], False, "auth-required: who are you")
        return True


@pytest.mark.compliance(spec="NIP-42", section="Protocol flow", requirement="AUTH answers the newest challenge")
async def test_it_authenticates_when_the_relay_insists_and_then_asks_again() -> None:
    guarded, authenticator = Guarded(), Authenticator()
    relay = Double(guarded, guarded.greet)
    async with relay.serving(), pool(authenticator=authenticator) as home:
        home.want(relay)
        publication, settled = publish(home, reply(), relay)
        await eventually(lambda: settled)
        assert publication.is_accepted
        (event,) = guarded.authenticated
        assert event.kind == 22242
        assert event.tags == [["relay", relay.url], ["challenge", "challenge"]]
        await eventually(lambda: len(relay.asked("REQ")) >= 2)
        await relay.send(signed())
        await eventually(lambda: home.sink.taken)


async def test_a_challenge_alone_is_not_answered() -> None:
    async def challenge(connection: ServerConnection) -> None:
        await connection.send('["AUTH","challenge"]')

    relay, authenticator = Double(greet=challenge), Authenticator()
    async with relay.serving(), pool(authenticator=authenticator) as home:
        home.want(relay)
        await home.live(relay)
        await asyncio.sleep(0.1)
        assert authenticator.asked == []


async def test_without_an_open_key_nothing_is_signed_and_the_reply_stays() -> None:
    guarded, authenticator = Guarded(), Authenticator()
    relay = Double(guarded, guarded.greet)
    async with relay.serving(), pool(authenticator=authenticator) as home:
        home.want(relay, keys=[OTHER_SIGNER.public_key_hex])
        publication, settled = publish(home, reply(author=OTHER_SIGNER), relay)
        await eventually(lambda: authenticator.asked)
        await asyncio.sleep(0.05)
        assert guarded.authenticated == []
        assert publication.is_pending
        assert settled == []


async def test_a_failing_authenticator_hurts_nobody(caplog: Any) -> None:
    class Failing:
        async def sign_auth(self, public_key: str, event: UnsignedEvent) -> Event | None:
            raise LookupError("secret text")

    guarded = Guarded()
    relay = Double(guarded, guarded.greet)
    async with relay.serving(), pool(authenticator=Failing()) as home:
        home.want(relay)
        await home.live(relay)
        await eventually(lambda: "authentication failed" in caplog.text)
        assert home.row(relay).status is RelayStatus.LIVE
        assert "secret text" not in caplog.text


def test_the_defaults_fit_common_relays() -> None:
    limits = OutboundLimits()
    assert limits.keys_per_filter <= 256
    assert limits.subscriptions <= 10
    assert limits.event_bytes <= 65_536


def test_clients_and_signers_differ() -> None:
    assert CLIENT.public_key_hex != SIGNER.public_key_hex
