"""The built-in relay at ``/relay``: one websocket connection.

A Channels consumer with its own receive loop: Channels' dispatch makes a task per message and joins a channel layer
that a relay connection has no use for, and the worker may share this process's core.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async

from bunker.relays.direct_protocol import DirectFrameSink, direct_of
from bunker.relays.hub import RelayHub, get_hub
from bunker.relays.outbox import Outbox
from bunker.relays.session import RelaySession
from keycast.base.networks import network_of

logger = logging.getLogger(__name__)

ResolveScope = Callable[[str], Awaitable[str | None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

GONE = 0
GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
CLOSE_SECONDS = 1


async def tenant_of_host(host: str) -> str | None:
    """Return the tenant (UUID hex) whose verified host this is, or None: then there is no relay here."""
    from accounts.resolve import tenant_for_host  # noqa: PLC0415  (needs Django's apps)

    tenant = await database_sync_to_async(tenant_for_host)(host)
    return None if tenant is None else tenant.id.hex


class RelayConsumer(AsyncConsumer):  # type: ignore[misc]
    """Speaks NIP-01 with one client; its limits and its memory are the hub's."""

    def __init__(self, hub: RelayHub | None = None, resolve_scope: ResolveScope = tenant_of_host) -> None:
        self._given_hub = hub
        self._resolve_scope = resolve_scope

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Any) -> None:
        """Serve until the client goes: an ASGI application."""
        hub = self._given_hub or get_hub()
        await receive()
        host = sole_host(scope)
        tenant = await self._resolve_scope(host) if host else None
        address = network_of(scope["client"][0]) if scope.get("client") else ""
        outbox = Outbox(send, hub.limits.queue_frames, hub.limits.queue_bytes)
        session = hub.open(tenant, address, outbox, host or "") if tenant else None
        if session is None:
            await send({"type": "websocket.close"})
            return
        try:
            await send({"type": "websocket.accept"})
            await RelayConnection(hub, session, receive, send).run(scope, outbox)
        finally:
            hub.close(session, address)


class RelayConnection:
    """One accepted connection: frames in, frames out, until one side ends."""

    def __init__(self, hub: RelayHub, session: RelaySession, receive: Receive, send: Any) -> None:
        self._hub = hub
        self._session = session
        self._receive = receive
        self._send = send
        self._code = GONE
        self._abort: Callable[[], None] | None = None
        self._ended = asyncio.Event()
        session.on_end = self._end
        if session.has_ended:
            self._end()

    async def run(self, scope: MutableMapping[str, Any], outbox: Outbox) -> None:
        """Serve by the direct way where the server offers it, else by the plain loops."""
        direct = direct_of(scope)
        tasks: set[asyncio.Task[Any]] = set()
        if direct is not None and direct.take_over(self.handle, self._session.keeps, self._hub.limits.message_seconds):
            self._session.out = DirectFrameSink(direct, self._hub.limits.queue_bytes, self._session.unread)
            self._abort = direct.abort
        else:
            writer = asyncio.create_task(outbox.run())
            outbox.on_overflow = writer.cancel
            tasks.add(writer)
        self._session.greet()
        tasks.add(asyncio.create_task(self._read()))
        tasks.add(asyncio.create_task(self._wait_for_end()))
        try:
            code = await self._first_end(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if code != GONE:
            with suppress(OSError):
                await asyncio.wait_for(self._send({"type": "websocket.close", "code": code}), CLOSE_SECONDS)

    def _end(self) -> None:
        """The tenant was closed: nothing more is read, and the connection ends."""
        self._code = POLICY_VIOLATION
        self._ended.set()

    async def _wait_for_end(self) -> int:
        await self._ended.wait()
        return POLICY_VIOLATION

    def handle(self, text: bytes) -> float:
        """Act on one text message. A fault of ours ends this connection and no other."""
        if self._code != GONE:
            return 0.0
        try:
            return self._session.handle(text)
        except Exception as error:  # loop top (relay): of the built-in one
            self._hub.intake.counters.misc["relay-errors"] += 1
            logger.error("a relay connection failed", extra={"error": type(error).__name__})
            self._code = INTERNAL_ERROR
            if self._abort is not None:
                self._abort()
            return 0.0

    async def _read(self) -> int:
        """Take frames as they come. Returns the code to close with, GONE when the client has gone."""
        receive, handle = self._receive, self.handle
        while self._code == GONE:
            message = await receive()
            if message["type"] != "websocket.receive":
                return GONE
            text = message.get("text")
            if text is None:
                return UNSUPPORTED_DATA
            wait = handle(text.encode())
            if wait:
                await asyncio.sleep(wait)
        return self._code

    async def _first_end(self, tasks: set[asyncio.Task[Any]]) -> int:
        """Wait for the first task to end, or for idleness; returns the code to close with.

        The writer ends only by an error (the client is gone) or, after an overflow, cancelled.
        """
        idle = self._hub.limits.idle_seconds
        while True:
            ended, _ = await asyncio.wait(tasks, timeout=idle / 2, return_when=FIRST_COMPLETED)
            for task in ended:
                if task.cancelled():
                    return POLICY_VIOLATION
                with suppress(OSError):  # what ASGI servers raise when the client is gone
                    return int(task.result())
                return GONE
            if self._session.is_idle(idle):
                return GOING_AWAY


def sole_host(scope: MutableMapping[str, Any]) -> str | None:
    """Return the one Host header; None when there is none or more than one."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return str(hosts[0], "latin-1") if len(hosts) == 1 else None
