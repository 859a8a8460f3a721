"""A websocket client connection that a hostile relay cannot make expensive (threats.md T14)."""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event as ProtocolEvent

from bunker.relays.budget import TokenBucket
from bunker.relays.limits import OutboundLimits

SLICE = 4_096
"""Bytes that are parsed before the bounds are looked at again: one read may hold 100,000 pings."""


class BoundedConnection(ClientConnection):
    """Adds what the library leaves open: a bound on pings, on empty fragments, and on pongs that nobody reads."""

    def __init__(self, *args: Any, limits: OutboundLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._pings = TokenBucket(limits.pings_per_second, 5 * limits.pings_per_second)
        self._fragments = 0
        self.is_dropped = False

    def data_received(self, data: bytes) -> None:
        """Parse in slices and look at the bounds in between."""
        for start in range(0, len(data), SLICE):
            super().data_received(data[start : start + SLICE])
            if self.transport.get_write_buffer_size() > self._limits.write_buffer_bytes:
                self._drop()
            if self.is_dropped or self.transport.is_closing():
                return

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
