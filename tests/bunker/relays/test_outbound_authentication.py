"""Outbound relays that insist on NIP-42: asked again once a transport key has authenticated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from bunker.relays.interfaces import RelayStatus
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of, verify_event
from tests.bunker.relays.double import Double, pool, publish
from tests.bunker.relays.support import OTHER_SIGNER, SIGNER, reply, signed
from tests.waiting import eventually


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
