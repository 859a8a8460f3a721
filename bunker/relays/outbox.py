"""What one client of the built-in relay is still to be sent: bounded, in order, with as few writes as possible."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Outbox:
    """A bounded queue in front of an ASGI ``send``.

    ``put`` is synchronous. A *lazy* frame waits for the next frame that is not, or for ``flush``: an OK then leaves
    with the reply in one write. A client that reads too slowly overflows the queue and is disconnected.
    """

    __slots__ = ("_bytes", "_frames", "_most_bytes", "_most_frames", "_send", "_wanted", "is_overflown", "on_overflow")

    def __init__(self, send: Send, most_frames: int, most_bytes: int) -> None:
        self._send = send
        self._most_frames, self._most_bytes = most_frames, most_bytes
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._wanted: asyncio.Event = asyncio.Event()
        self.is_overflown = False
        self.on_overflow: Callable[[], object] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes, *, lazy: bool = False) -> None:
        """Queue a text frame; drop everything and mark the overflow when a bound is reached."""
        if self.is_overflown:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > self._most_frames or self._bytes > self._most_bytes:
            self.is_overflown = True
            self._frames.clear()
            if self.on_overflow is not None:
                self.on_overflow()
        if not lazy:
            self._wanted.set()

    def flush(self) -> None:
        """Let lazy frames go now."""
        if self._frames:
            self._wanted.set()

    def withdraw(self, frame: bytes) -> None:
        """Take a lazy frame back, if it has not left yet."""
        with suppress(ValueError):
            self._frames.remove(frame)
            self._bytes -= len(frame)

    def waiting_bytes(self) -> int:
        """Bytes of the frames that have not left yet."""
        return self._bytes

    async def run(self) -> None:
        """Send frames as they come, until cancelled; raises OSError without a peer."""
        frames, send, wanted = self._frames, self._send, self._wanted
        while True:
            await wanted.wait()
            wanted.clear()
            while frames:
                frame = frames.popleft()
                self._bytes -= len(frame)
                await send({"type": "websocket.send", "text": frame.decode()})
