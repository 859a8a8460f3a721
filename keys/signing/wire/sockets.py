"""Unix sockets: made for their owner, and asked who is at the other end (SO_PEERCRED)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple, cast

_CREDENTIALS: Final = struct.Struct("3i")


class PeerProcess(NamedTuple):
    """The process at the other end, as the kernel knows it."""

    process: int
    user: int


def listener(path: Path, mode: int = 0o600) -> socket.socket:
    """A listening socket at ``path``, made anew, in a folder that is made for its owner alone if it is not there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    return made


def remove(path: Path) -> None:
    """Take a socket away; leaves alone what is none."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def peer_of(transport: asyncio.BaseTransport) -> PeerProcess:
    """Who is at the other end of a Unix socket."""
    return credentials(cast("socket.socket", transport.get_extra_info("socket")))


def credentials(connected: socket.socket) -> PeerProcess:
    """The same of a socket."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(raw)
    return PeerProcess(process, user)
