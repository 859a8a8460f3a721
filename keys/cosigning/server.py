"""The co-signer's front: who may connect, frames in, replies out; a bounded number of requests at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from typing import Final, cast

import msgspec

from keycast.crypto.secret import wipe_bytes
from keys.cosigning import messages
from keys.cosigning.address import Address
from keys.cosigning.cosigner import Cosigner
from keys.cosigning.messages import AnyRequest, Code
from keys.cosigning.wire import Frames

logger = logging.getLogger(__name__)
MAX_CONNECTIONS: Final = 64
MAX_AT_ONCE: Final = 256
"""Requests of one connection that are being answered; more are refused as busy."""
DRAIN: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")


class CosignerServer:
    """Serves a co-signer on one address. ``users`` are the user ids that may use the Unix socket."""

    def __init__(self, cosigner: Cosigner, address: Address, users: frozenset[int]) -> None:
        self._cosigner, self._address, self._users = cosigner, address, users
        self._connections: dict[Frames, str] = {}
        self._tasks: dict[Frames, set[asyncio.Task[None]]] = {}
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. A Unix socket is made anew, for its owner alone."""
        loop = asyncio.get_running_loop()
        if self._address.path is not None:
            self._server = await loop.create_unix_server(self._new, sock=_unix_socket(str(self._address.path)))
        else:
            assert self._address.tls is not None  # noqa: S101 -- from_settings refuses TCP without
            tls = self._address.tls.context(server=True)
            self._server = await loop.create_server(self._new, self._address.host, self._address.port, ssl=tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, finish what was begun, close."""
        if self._server is not None:
            self._server.close()
        begun = [task for tasks in self._tasks.values() for task in tasks]
        if begun:
            await asyncio.wait(begun, timeout=DRAIN)
        for connection in list(self._connections):
            connection.abort()
        if self._address.path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._address.path)

    def _new(self) -> Frames:
        return _Served(self)

    def admit(self, connection: Frames, transport: asyncio.Transport) -> bool:
        """Whether the other end may talk to us at all."""
        name = self._name(transport)
        if not name or len(self._connections) >= MAX_CONNECTIONS:
            logger.warning("a connection to the co-signer was refused")
            return False
        self._connections[connection], self._tasks[connection] = name, set()
        return True

    def _name(self, transport: asyncio.Transport) -> str:
        """How the log calls the other end; empty when it is nobody we serve."""
        if self._address.path is None:
            subject = dict(pair[0] for pair in (transport.get_extra_info("peercert") or {}).get("subject", ()))
            return f"tls:{subject.get('commonName', 'unnamed')}"[:200] if subject else ""
        peer = cast("socket.socket", transport.get_extra_info("socket"))
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process, user, _ = _CREDENTIALS.unpack(raw)
        return f"unix:{user}:{process}" if user in self._users else ""

    def take(self, connection: Frames, frame: bytes) -> None:
        """One frame came. What is no request ends the connection: both ends are ours."""
        if connection not in self._connections:
            return
        try:
            request = messages.decode_request(frame)
        except (msgspec.MsgspecError, RecursionError):
            logger.warning("a malformed request ended its connection")
            connection.abort()
            return
        finally:
            wipe_bytes(frame)
        tasks = self._tasks[connection]
        if len(tasks) >= MAX_AT_ONCE:
            connection.send(messages.encode(messages.Refused(request.number, Code.BUSY.value)))
            return
        task = asyncio.create_task(self._answer(connection, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _answer(self, connection: Frames, request: AnyRequest) -> None:
        reply = await self._cosigner.answer(request, self._connections.get(connection, ""))
        connection.send(messages.encode(reply))

    def end(self, connection: Frames) -> None:
        """The connection is gone; what was begun for it is finished all the same."""
        self._connections.pop(connection, None)
        self._tasks.pop(connection, None)


class _Served(Frames):
    def __init__(self, server: CosignerServer) -> None:
        super().__init__(server.take, server.end)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._server.admit(self, cast("asyncio.Transport", transport)):
            self.abort()


def _unix_socket(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    return listener
