"""Replies over outbound relays: published until accepted, refused or expired."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from bunker.relays.interfaces import DropReason, PublishState
from keycast.nostr.nip01 import serialize
from tests.bunker.relays.double import QUICK, Double, pool, publish
from tests.bunker.relays.support import reply
from tests.waiting import eventually


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
