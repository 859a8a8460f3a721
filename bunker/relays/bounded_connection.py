"""A websocket client connection that a hostile relay cannot make expensive (threats.md T14)."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event as ProtocolEvent

from bunker.relays.limits import OutboundLimits
from keycast.base.token_bucket import TokenBucket

SLICE = 2_048
"""Bytes that are parsed before the bounds are looked at again: one read may hold 100,000 frames."""


class BoundedConnection(ClientConnection):
    """Adds what the library leaves open: bounds on pings, on empty fragments, and on pongs that nobody reads.

    It also stops parsing, not only reading, while the queue of messages is full: otherwise one read of tiny frames
    would block the event loop for half a second and fill memory with them.
    """

    def __init__(self, *args: Any, limits: OutboundLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._pings = TokenBucket(limits.pings_per_second, 5 * limits.pings_per_second)
        self._fragments = 0
        self._held = b""
        self.is_dropped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go on with what was held, when the queue of messages has room again."""
        super().connection_made(transport)
        self.recv_messages.resume = lambda: self.loop.call_soon(self._go_on)

    def data_received(self, data: bytes) -> None:
        """Parse in slices and look at the bounds in between."""
        data = self._held + data
        self._held = b""
        for start in range(0, len(data), SLICE):
            if self.recv_messages.paused:
                self._held = data[start:]
                return
            super().data_received(data[start : start + SLICE])
            if self.transport.get_write_buffer_size() > self._limits.write_buffer_bytes:
                self._drop()
            if self.is_dropped or self.transport.is_closing():
                return

    def _go_on(self) -> None:
        if self.is_dropped or self.transport.is_closing():
            return
        self.data_received(b"")
        if not self.recv_messages.paused:
            self.transport.resume_reading()

    def process_event(self, event: ProtocolEvent) -> None:
        """Count control frames and fragments before the library takes them."""
        if isinstance(event, Frame):
            if event.opcode is Opcode.PING and not self._pings.take():
                self._drop()
            if event.opcode in {Opcode.TEXT, Opcode.BINARY}:
                self._fragments = 0
            elif event.opcode is Opcode.CONT:
                self._fragments += 1
            if self._fragments > self._limits.fragments:
                self._drop()
        if not self.is_dropped:
            super().process_event(event)

    def _drop(self) -> None:
        self.is_dropped = True
        self.transport.abort()
