"""The signer's front: a Unix socket for the users named, and nobody else on the machine."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from keycast.crypto.secret import wipe_bytes
from keys.signing.isolated import messages
from keys.signing.isolated.messages import AnyRequest
from keys.signing.isolated.request_handler import SignerRequestHandler, busy
from keys.signing.wire import sockets
from keys.signing.wire.server import FrameServer

MAX_AT_ONCE: Final = 2048
LINGER: Final = 8.0
"""Seconds for which a signer that was told to stop still answers at most,"""
QUIET: Final = 1.0
"""and without a request for so long, no longer."""
_LOOK: Final = 0.1


class SocketRefused(Exception):
    """The socket cannot be made safely where it was asked for; the text says why."""


class SignerServer(FrameServer[AnyRequest]):
    """Answers requests at ``path`` to the user ids ``users``."""

    def __init__(self, handler: SignerRequestHandler, path: Path, users: frozenset[int]) -> None:
        super().__init__(what="the signer", decode=messages.decode_request, encode=messages.encode)
        self._handler, self._path, self._users = handler, path, users
        self.at_once = MAX_AT_ONCE
        self._asked_at = 0.0

    async def start(self) -> None:
        """Listen. Raises SocketRefused when another signer does, or others could put a socket of theirs there."""
        _require_safe(self._path)
        is_shared = bool(self._users - {os.geteuid()})
        listener = sockets.listener(self._path, 0o660 if is_shared else 0o600)
        loop = asyncio.get_running_loop()
        self.serve_on(await loop.create_unix_server(self.new_connection, sock=listener))

    async def stop(self) -> None:
        """Go last: whoever ends with us finishes its own requests first. Then finish what was begun, and close."""
        loop = asyncio.get_running_loop()
        for _ in range(int(LINGER / _LOOK)):
            if not self.connections or loop.time() - self._asked_at >= QUIET:
                break
            await asyncio.sleep(_LOOK)
        await super().stop()
        sockets.remove(self._path)

    def name_of(self, transport: asyncio.Transport) -> str:
        """Who it is, by the kernel's word."""
        peer = sockets.peer_of(transport)
        return f"unix:{peer.user}:{peer.process}" if peer.user in self._users else ""

    async def answer(self, request: AnyRequest, name: str) -> Any:
        """What the handler says."""
        self._asked_at = asyncio.get_running_loop().time()
        return await self._handler.answer(request)

    def sent(self, reply: Any) -> None:
        """No copy of an opened remote-signer key stays here."""
        if isinstance(reply, messages.OpenedTransportKeyReply):
            wipe_bytes(reply.secret)

    def busy(self, number: int) -> Any:
        """One request too many."""
        return busy(number)


def _require_safe(path: Path) -> None:
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SocketRefused(f"Others can write to {folder}: they could put a socket of theirs there.")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise SocketRefused(f"Another signer serves {path}.")
