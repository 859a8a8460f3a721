"""Overwriting what the server itself keeps of a body that holds a secret."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

_reading: Final[set[asyncio.Task[Any]]] = set()
MOST: Final = 128 * 1024
"""Bytes that a socket takes at once."""


class WipedBuffer(bytearray):
    """Where uvicorn collects a body: it drops the buffer once the body is handed on, which overwrites it."""

    def __del__(self) -> None:
        self[:] = bytes(len(self))


def overwrite_read_buffer(loop: asyncio.AbstractEventLoop, size: int) -> None:
    """Have the loop read ``size`` zeros: uvloop reads every socket into one buffer of its own, and clears it never.

    Another event loop has no such buffer, and reads zeros for nothing.
    """
    reading, writing = socket.socketpair()
    try:
        writing.setblocking(False)
        writing.send(bytes(min(size, MOST)))
    except OSError:  # what is left is overwritten by whatever is read next
        reading.close()
        return
    finally:
        writing.close()
    task = loop.create_task(loop.create_connection(asyncio.Protocol, sock=reading))
    _reading.add(task)
    task.add_done_callback(_reading.discard)
