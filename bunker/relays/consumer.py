"""The built-in relay at ``/relay``: one websocket connection.

A Channels consumer with its own receive loop: Channels' dispatch makes a task per message and joins a channel layer
that a relay connection has no use for, and the worker may share this process's core.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import FIRST_COMPLETED as FIRST
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async

from bunker.relays.hub import RelayHub, get_hub
from bunker.relays.outbox import Outbox
from bunker.relays.session import Session

logger = logging.getLogger(__name__)

ResolveScope = Callable[[str], Awaitable[str | None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
INTERNAL_ERROR = 1011
CLOSE_SECONDS = 5


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
        address = scope["client"][0] if scope.get("client") else ""
        outbox = Outbox(send, hub.limits.queue_frames, hub.limits.queue_bytes)
        session = hub.open(tenant, address, outbox) if tenant else None
        if session is None:
            await send({"type": "websocket.close"})
            return
        try:
            await send({"type": "websocket.accept"})
            await self._serve(hub, session, outbox, receive, send)
        finally:
            hub.close(session, address)

    async def _serve(self, hub: RelayHub, session: Session, outbox: Outbox, receive: Receive, send: Any) -> None:
        """Read and write side by side until the first of them ends."""
        reader = asyncio.create_task(read(session, receive))
        writer = asyncio.create_task(outbox.run())
        both = {reader, writer}
        try:
            while not (ended := (await asyncio.wait(both, timeout=hub.limits.idle_seconds / 2, return_when=FIRST))[0]):
                if session.is_idle(hub.limits.idle_seconds):
                    break
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        code = close_code(hub, ended)
        if code:
            with suppress(OSError):
                await asyncio.wait_for(send({"type": "websocket.close", "code": code}), CLOSE_SECONDS)


async def read(session: Session, receive: Receive) -> int:
    """Handle frames as they come. Returns the code to close with, 0 when the client has gone."""
    handle = session.handle
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return 0
        text = message.get("text")
        if text is None:
            return UNSUPPORTED_DATA
        wait = handle(text)
        if wait:
            await asyncio.sleep(wait)


def close_code(hub: RelayHub, ended: set[asyncio.Task[int]]) -> int:
    """Say how to close after ``ended`` (empty: idle): the relay's loop top, where one client's fault ends."""
    code = 0 if ended else GOING_AWAY
    for task in ended:
        error = task.exception()
        if error is None:
            code = task.result()
        elif not isinstance(error, OSError):  # a client that is gone is an OSError in ASGI
            code = INTERNAL_ERROR
            hub.intake.counters.misc["relay-errors"] += 1
            logger.error("a relay connection failed", extra={"error": type(error).__name__})
    return code


def sole_host(scope: MutableMapping[str, Any]) -> str | None:
    """Return the one Host header; None when there is none or more than one."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].decode("latin-1") if len(hosts) == 1 else None
