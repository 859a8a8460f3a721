"""One websocket to one relay (NIP-01): a subscription, and events on their way out until the relay says OK."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

MAX_FRAME: Final = 2 << 20
"""Longest frame taken from a relay, in bytes."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
_SUBSCRIPTION: Final = "replies"
_LOST: Final = (OSError, WebSocketException, TimeoutError)


@dataclass(slots=True)
class _Outgoing:
    frame: str
    accepted: asyncio.Future[str]
    """Resolves to "" for OK true, else to the relay's reason."""


class ClientRelayConnection:
    """Keeps one relay connected while open, and sends again after a reconnect whatever it has not accepted yet.

    ``on_event`` gets each event of the subscription as JSON, unverified. ``authenticate`` makes the signed
    NIP-42 event for a challenge: (relay URL, challenge) -> (event id, event as JSON text).
    """

    def __init__(
        self,
        url: str,
        subscription: dict[str, Any],
        on_event: Callable[[bytes], None],
        authenticate: Callable[[str, str], tuple[str, str]],
    ) -> None:
        self.url = url
        self.problem = "not connected yet"
        self.ready = asyncio.Event()
        self._subscribe = msgspec.json.encode(["REQ", _SUBSCRIPTION, subscription]).decode()
        self._on_event = on_event
        self._authenticate = authenticate
        self._outgoing: dict[str, _Outgoing] = {}
        self._socket: ClientConnection | None = None
        # No proxy leads to this machine, whatever the environment says of proxies.
        self._place: dict[str, Any] = {"proxy": None} if _is_localhost(url) else {}
        self._authentication = ""
        self._task = asyncio.create_task(self._stay_connected(), name=f"relay {url}")

    async def publish(self, event_id: str, event: str) -> str:
        """Send ``event`` (JSON text) until the relay has answered; returns "" for OK, else the relay's reason."""
        outgoing = _Outgoing(f'["EVENT",{event}]', asyncio.get_running_loop().create_future())
        self._outgoing[event_id] = outgoing
        try:
            if self._socket is not None and self.ready.is_set():
                await self._send(outgoing.frame)
            return await outgoing.accepted
        finally:
            self._outgoing.pop(event_id, None)

    async def close(self) -> None:
        """Close the connection properly and end."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._connect() as opened:
                    self._socket = opened
                    await self._send(self._subscribe)
                    async for frame in opened:
                        await self._take(frame)
                        pause = FIRST_PAUSE
                self.problem = "the relay closed the connection"
            except (InvalidURI, InvalidHandshake) as error:
                self.problem = f"not a relay there: {type(error).__name__}"
            except _LOST as error:
                if isinstance(error, socket.gaierror) and _is_localhost(self.url):
                    self._place["host"] = "127.0.0.1"  # a machine so bare that it has no /etc/hosts
                self.problem = getattr(error, "strerror", None) or type(error).__name__
            finally:
                self._socket = None
                self.ready.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _connect(self) -> connect:
        return connect(self.url, max_size=MAX_FRAME, compression=None, close_timeout=1, **self._place)

    async def _send(self, frame: str) -> None:
        if self._socket is not None:
            with suppress(*_LOST):  # what was lost with the connection is sent again after the next
                await self._socket.send(frame)

    async def _take(self, frame: str | bytes) -> None:
        try:
            parts = msgspec.json.decode(frame, type=list[msgspec.Raw])
            if len(parts) == 3 and bytes(parts[0]) == b'"EVENT"':
                self._on_event(bytes(parts[2]))
                return
            message = msgspec.json.decode(frame)
        except (ValueError, RecursionError):
            return
        match message:
            case ["EOSE", str()]:
                await self._become_ready()
            case ["OK", str(event_id), bool(accepted), *rest]:
                await self._settle(event_id, accepted, str(rest[0]) if rest else "")
            case ["AUTH", str(challenge)]:
                self._authentication, event = self._authenticate(self.url, challenge)
                await self._send(f'["AUTH",{event}]')
            case ["CLOSED", str(), *rest]:
                self.problem = f"the relay refused the subscription: {rest[0] if rest else ''}"

    async def _become_ready(self) -> None:
        self.ready.set()
        for outgoing in list(self._outgoing.values()):
            await self._send(outgoing.frame)

    async def _settle(self, event_id: str, accepted: bool, reason: str) -> None:
        if event_id == self._authentication:
            await self._send(self._subscribe)
            return
        outgoing = self._outgoing.get(event_id)
        waits_for_auth = reason.startswith("auth-required:") and self._authentication
        if outgoing is None or outgoing.accepted.done() or (waits_for_auth and not accepted):
            return
        outgoing.accepted.set_result("" if accepted else (reason or "refused without a reason"))


def _is_localhost(url: str) -> bool:
    """Whether the name always means this machine (RFC 6761, section 6.3), or it is its loopback address."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")
