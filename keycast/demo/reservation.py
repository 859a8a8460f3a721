"""What a demo has to itself, so that several can run side by side: its folder and its port."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keycast.demo.processes import DemoFailed

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux (sun_path in unix(7), less its end)."""
LONGEST_SOCKET_NAME: Final = "cosigner.sock"
NEIGHBOURS: Final = 20
"""Ports above the wanted one that are tried."""
LOCK_WITHIN: Final = 5.0
"""Seconds in which the processes of a demo that was just killed may end."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[int]:
    """Make ``folder`` and keep other demos out of it; gives the lock's descriptor, for a server to inherit.

    The lock lasts until everybody who has the descriptor is gone. Raises DemoFailed when another demo has it, when the
    folder cannot be written, or when its path is too long for the sockets in it.
    """
    if len(os.fsencode(folder / LONGEST_SOCKET_NAME)) > LONGEST_SOCKET_PATH:
        raise DemoFailed(f"The path {folder} is too long for the Unix sockets in it; choose another with --folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "demo.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DemoFailed(f"Cannot write in {folder}: {error.strerror}. Choose another folder with --folder.") from None
    try:
        _lock(descriptor, folder)
        yield descriptor
    finally:
        os.close(descriptor)


def open_port(wanted: int) -> socket.socket:
    """Listen on ``wanted`` of the loopback interface, or on one of the next, or on any that is free.

    The server gets the socket itself: nobody can take the port in between. Raises DemoFailed.
    """
    for port in [*range(wanted, min(wanted + NEIGHBOURS, 65_536)), 0]:
        try:
            return socket.create_server(("127.0.0.1", port), backlog=2048)
        except (OSError, OverflowError):
            continue
    raise DemoFailed("No port is free on 127.0.0.1.")


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_WITHIN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"Another demo runs on the data in {folder}. Stop it, or give this one a folder of its own: "
                    "make demo FOLDER=/tmp/another-demo"
                ) from None
            time.sleep(0.1)
        else:
            return
