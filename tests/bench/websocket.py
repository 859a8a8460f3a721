"""A websocket client (RFC 6455) that costs next to nothing, so that the load does not distort what it measures.

Frames to send are built, and masked, before the clock starts; received text frames are handed on as bytes, unparsed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Callable
from typing import cast

_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """One complete client frame, masked."""
    size, mask = len(payload), os.urandom(4)
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    repeated = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ repeated).to_bytes(size, "big")


class Socket(asyncio.Protocol):
    """One connection. ``on_text`` gets every text frame's payload; ``opened`` and ``closed`` are futures."""

    def __init__(self, host: str, path: str, on_text: Callable[[bytes], None]) -> None:
        self._host = host
        self._path = path
        self._on_text = on_text
        self._buffer = bytearray()
        self._is_open = False
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, prepared: bytes) -> None:
        """Send a frame made by ``frame``."""
        self._transport.write(prepared)

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the server did not upgrade to a websocket"))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._is_open and not self._take_handshake():
            return
        while (size := len(buffer)) >= 2:
            start, length = 2, buffer[1] & 0x7F
            if length == 126:
                start, length = 4, int.from_bytes(buffer[2:4], "big")
            elif length == 127:
                start, length = 10, int.from_bytes(buffer[2:10], "big")
            if size < start + length:
                return
            opcode, payload = buffer[0], bytes(buffer[start : start + length])
            del buffer[: start + length]
            if opcode == _TEXT:
                self._on_text(payload)
            elif opcode == _PING:
                self._transport.write(frame(payload, _PONG))

    def _take_handshake(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._buffer.startswith(b"HTTP/1.1 101"):
            self._transport.close()
            return False
        del self._buffer[: end + 4]
        self._is_open = True
        self.opened.set_result(None)
        return True
