"""Frames over a stream: length (4 bytes, big-endian) and body. One class for both ends; nothing here waits.

What comes is read into a buffer of our own that is overwritten as it is consumed; what goes is overwritten once the
kernel has it. Secrets travel this way, and no copy of them is to stay behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from keycast.crypto.secret import wipe_bytes

HEADER: Final = 4
MAX_FRAME: Final = 2 * 1024 * 1024
MAX_UNSENT: Final = 4 * MAX_FRAME
_FIRST_BUFFER: Final = 32 * 1024
_LOOK_AGAIN: Final = 0.02


class FrameProtocol(asyncio.BufferedProtocol):
    """Calls ``on_frame`` for each whole frame and ``on_end`` once. A frame too long ends the connection.

    ``on_frame`` gets bytes of its own, to be wiped by it where they are secret.
    """

    def __init__(
        self, on_frame: Callable[[FrameProtocol, bytes], None], on_end: Callable[[FrameProtocol], None]
    ) -> None:
        self._on_frame, self._on_end = on_frame, on_end
        self._buffer = bytearray(_FIRST_BUFFER)
        self._filled = 0
        self._unwiped: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        start = 0
        while self._filled - start >= HEADER:
            size = int.from_bytes(self._buffer[start : start + HEADER], "big")
            if size > MAX_FRAME:
                self.abort()
                return
            end = start + HEADER + size
            if self._filled < end:
                self._make_room(size)
                break
            with memoryview(self._buffer) as view:
                frame = bytes(view[start + HEADER : end])
            start = end
            self._on_frame(self, frame)
        if start:
            self._drop(start)

    def send(self, body: bytes) -> None:
        """Send one frame; ``body`` is overwritten. Who does not read loses the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        frame = len(body).to_bytes(HEADER, "big") + body
        wipe_bytes(body)
        self.transport.write(frame)
        unsent = self.transport.get_write_buffer_size()
        if unsent > MAX_UNSENT:
            self.abort()
        elif unsent == 0:
            wipe_bytes(frame)
        else:
            self._wipe_later(frame)

    def abort(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._wipe_all()
        self._buffer[:] = bytes(len(self._buffer))
        self._on_end(self)

    def _drop(self, consumed: int) -> None:
        """Overwrite what was consumed; what is left begins the buffer. Never resized: the loop may hold a view."""
        left = self._filled - consumed
        if left:
            self._buffer[:left] = self._buffer[consumed : self._filled]
        self._buffer[left : self._filled] = bytes(self._filled - left)
        self._filled = left

    def _make_room(self, size: int) -> None:
        """Have a buffer that takes a whole frame of this size."""
        if HEADER + size > len(self._buffer):
            larger = bytearray(2 * (HEADER + size))
            larger[: self._filled] = self._buffer[: self._filled]
            self._buffer[:] = bytes(len(self._buffer))
            self._buffer = larger

    def _wipe_later(self, frame: bytes) -> None:
        self._unwiped.append(frame)
        if len(self._unwiped) == 1:
            asyncio.get_running_loop().call_soon(self._wipe_sent)

    def _wipe_sent(self) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._wipe_sent)
        else:
            self._wipe_all()

    def _wipe_all(self) -> None:
        for frame in self._unwiped:
            wipe_bytes(frame)
        self._unwiped.clear()
