"""The answering end: who may connect, frames in, replies out; a bounded number of requests at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from keycast.crypto.secret import wipe_bytes
from keys.signing.wire.frames import FrameProtocol
from keys.signing.wire.lines import NumberedMessage

Q = TypeVar("Q", bound=NumberedMessage)
logger = logging.getLogger(__name__)
MAX_CONNECTIONS: Final = 64
MAX_AT_ONCE: Final = 256
"""Requests of one connection that are being answered; more are refused as busy."""
DRAIN: Final = 5.0


class FrameServer(Generic[Q]):
    """Answers requests by ``answer``; a subclass says who may connect, how frames are read, and how busy is said."""

    def __init__(self, *, what: str, decode: Callable[[bytes], Q], encode: Callable[[Any], bytes]) -> None:
        self._what, self._decode, self._encode = what, decode, encode
        self._connections: dict[FrameProtocol, str] = {}
        self._tasks: dict[FrameProtocol, set[asyncio.Task[None]]] = {}
        self._server: asyncio.Server | None = None
        self.at_once = MAX_AT_ONCE

    def name_of(self, transport: asyncio.Transport) -> str:
        """How the other end is called in logs; empty when it is nobody we serve."""
        raise NotImplementedError

    async def answer(self, request: Q, name: str) -> Any:
        """The reply. Must not raise."""
        raise NotImplementedError

    def busy(self, number: int) -> Any:
        """The reply to one request too many."""
        raise NotImplementedError

    def sent(self, reply: Any) -> None:
        """A reply was encoded and is on its way: whatever is secret in it can be wiped."""

    def new_connection(self) -> FrameProtocol:
        """What a listening server makes of each connection."""
        return _Served(self)

    def serve_on(self, server: asyncio.Server) -> None:
        """Take over a listening server that makes its connections by ``new_connection``."""
        self._server = server

    async def stop(self) -> None:
        """Stop listening, finish what was begun, close."""
        if self._server is not None:
            self._server.close()
        begun = [task for tasks in self._tasks.values() for task in tasks]
        if begun:
            await asyncio.wait(begun, timeout=DRAIN)
        for connection in list(self._connections):
            connection.abort()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def admit(self, connection: FrameProtocol, transport: asyncio.Transport) -> bool:
        """Whether the other end may talk to us at all."""
        name = self.name_of(transport)
        if not name or len(self._connections) >= MAX_CONNECTIONS:
            logger.warning("a connection to %s was refused", self._what)
            return False
        self._connections[connection], self._tasks[connection] = name, set()
        return True

    def take(self, connection: FrameProtocol, frame: bytes) -> None:
        """One frame came. What is no request ends the connection: both ends are ours."""
        if connection not in self._connections:
            return
        try:
            request = self._decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            logger.warning("a malformed request to %s ended its connection", self._what)
            connection.abort()
            return
        finally:
            wipe_bytes(frame)
        tasks = self._tasks[connection]
        if len(tasks) >= self.at_once:
            connection.send(self._encode(self.busy(request.number)))
            return
        task = asyncio.create_task(self._answer(connection, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def end(self, connection: FrameProtocol) -> None:
        """The connection is gone; what was begun for it is finished all the same."""
        self._connections.pop(connection, None)
        self._tasks.pop(connection, None)

    async def _answer(self, connection: FrameProtocol, request: Q) -> None:
        reply = await self.answer(request, self._connections.get(connection, ""))
        connection.send(self._encode(reply))
        self.sent(reply)


class _Served(FrameProtocol):
    def __init__(self, server: FrameServer[Any]) -> None:
        super().__init__(server.take, server.end)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._server.admit(self, cast("asyncio.Transport", transport)):
            self.abort()
