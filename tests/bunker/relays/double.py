"""A relay on loopback whose manners can be chosen, and a pool that talks to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bunker.relays import pool as pool_module
from bunker.relays.event_checks import Intake
from bunker.relays.interfaces import Publication
from bunker.relays.limits import IntakeLimits, OutboundLimits
from bunker.relays.pool import RelayPool
from bunker.relays.ssrf_guard import OutboundPolicy, SsrfGuard
from keycast.nostr.nip01 import Event, serialize
from tests.bunker.relays.support import SIGNER, Served, Sink
from tests.waiting import eventually

Script = Callable[["Double", ServerConnection, list[Any]], Awaitable[bool | None]]
"""Acts on one message; True means that the polite answer is not to be given."""

QUICK = OutboundLimits(backoff_first=0.02, backoff_most=0.05, ok_timeout=5, send_timeout=1, close_timeout=0.2)


@dataclass
class Double:
    """Keeps what it hears; answers EVENT with OK true and REQ with EOSE unless its script says otherwise."""

    script: Script | None = None
    greet: Callable[[ServerConnection], Awaitable[None]] | None = None
    url: str = ""
    heard: list[list[Any]] = field(default_factory=list)
    connections: list[ServerConnection] = field(default_factory=list)

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            if self.greet is not None:
                await self.greet(connection)
            async for message in connection:
                parts = json.loads(message)
                self.heard.append(parts)
                if self.script is None or not await self.script(self, connection, parts):
                    await self.answer(connection, parts)
        except (ConnectionClosed, ConnectionError):
            pass

    async def answer(self, connection: ServerConnection, parts: list[Any]) -> None:
        if parts[0] == "EVENT":
            await self.say(connection, "OK", parts[1]["id"], True, "")
        elif parts[0] == "REQ":
            await self.say(connection, "EOSE", parts[1])

    async def say(self, connection: ServerConnection, *parts: Any) -> None:
        await connection.send(json.dumps(parts))

    async def send(self, event: Event, name: str = "k0") -> None:
        """Deliver an event on the newest connection."""
        await self.say(self.connections[-1], "EVENT", name, msgspec.to_builtins(event))

    def asked(self, name: str) -> list[list[Any]]:
        return [parts for parts in self.heard if parts[0] == name]

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Double]:
        async with serve(self, "127.0.0.1", 0, compression=None, **options) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


@dataclass
class Home:
    """A pool, its intake and its sink."""

    pool: RelayPool
    intake: Intake
    sink: Sink

    def want(self, *relays: Double, keys: Any = (SIGNER.public_key_hex,)) -> None:
        self.pool.set_wanted({relay.url: set(keys) for relay in relays})

    def row(self, relay: Double) -> Any:
        return next(row for row in self.pool.health() if row.url == relay.url)

    async def live(self, *relays: Double) -> None:
        await eventually(lambda: all(relay.asked("REQ") for relay in relays))


@asynccontextmanager
async def pool(
    limits: OutboundLimits = QUICK, *, authenticator: Any = None, tick: float = 0.05, intake: Any = None
) -> AsyncIterator[Home]:
    """A running pool that may connect to loopback."""
    before, pool_module.TICK_SECONDS = pool_module.TICK_SECONDS, tick
    door = Intake(Served(), IntakeLimits(**(intake or {})))
    guard = SsrfGuard(OutboundPolicy(private_hosts=frozenset({"127.0.0.1"})))
    outbound = RelayPool(door, guard=guard, limits=limits, authenticator=authenticator)
    sink = Sink()
    outbound.attach(sink)
    running = asyncio.create_task(outbound.run())
    try:
        yield Home(outbound, door, sink)
    finally:
        pool_module.TICK_SECONDS = before
        await outbound.stop()
        await running


def publish(home: Any, event: Event, *relays: Double, seconds: float = 60.0) -> tuple[Publication, list[Publication]]:
    """Publish to these relays: the publication, and a list that it is put into when it is settled."""
    settled: list[Publication] = []
    publication = home.pool.publish(
        event,
        serialize(event),
        [relay.url for relay in relays],
        expires_at=time.time() + seconds,
        on_settled=settled.append,
    )
    return publication, settled
