"""Frames over a stream: length (4 bytes, big-endian) and body. One class for both ends; nothing here waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from keycast.crypto.secret import wipe_bytes
from keys.cosigning.messages import HEADER, MAX_FRAME

MAX_UNSENT: Final = 4 * MAX_FRAME


class Frames(asyncio.Protocol):
    """Calls ``on_frame`` for each whole frame and ``on_end`` once. A frame too long ends the connection."""

    def __init__(self, on_frame: Callable[[Frames, bytes], None], on_end: Callable[[Frames], None]) -> None:
        self._on_frame, self._on_end = on_frame, on_end
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER:
            size = int.from_bytes(buffer[start : start + HEADER], "big")
            if size > MAX_FRAME:
                self.abort()
                return
            if len(buffer) - start - HEADER < size:
                break
            start += HEADER
            with memoryview(buffer) as view:
                frame = bytes(view[start : start + size])
            start += size
            self._on_frame(self, frame)
        if start:
            buffer[:start] = bytes(start)  # a half may have come this way
            del buffer[:start]

    def send(self, body: bytes) -> None:
        """Send one frame; ``body`` is overwritten when the kernel has it. Who does not read loses the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        frame = len(body).to_bytes(HEADER, "big") + body
        self.transport.write(frame)
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0:  # with the kernel: no copy of a half needs to stay here
            wipe_bytes(frame)
            wipe_bytes(body)
        elif unsent > MAX_UNSENT:
            self.abort()

    def abort(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._on_end(self)
