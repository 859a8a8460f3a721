"""A shorter way between socket and session, when uvicorn runs with
``ws="bunker.relays.direct_protocol:DirectProtocol"``.

uvicorn's own protocol spends some 40 us on a frame in and two out: a generator-driven parser, a queue, a task switch
per message. Here a whole, unfragmented text frame goes from ``data_received`` straight to the session, and an answer
straight to the transport; every other frame (control, fragmented, wrong) takes uvicorn's way. It also bounds what
uvicorn does not: pings, empty fragments, and the bytes that wait for a client that does not read.

Other ASGI servers, and the tests' communicator, use the plain receive loop of consumer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the C extension
    from websockets.utils import apply_mask

from bunker.relays.shared_bound import Holding
from keycast.base.token_bucket import TokenBucket

EXTENSION = "keycast.direct"
TEXT_MASKED = 0x81
MOST_FRAGMENTS = 256
TURN = 0.000_1
"""Seconds until a connection that has had its turn goes on: others are read in between."""
UNREAD_FREE = 64 * 1024
"""Bytes that may wait for a client before they count: as much as a transport takes before it says that it is full."""
ABNORMAL_CLOSURE = 1006
CONTROLS_PER_SECOND = 10
CONTROLS_BURST = 50

FREE_BYTES = 16 * 1024
"""Of an unfinished message, or of what a client sent before its handshake was over: so much needs no asking."""
FRAMES_A_TURN = 32
"""Frames of one connection that are acted on before others have their turn."""

Handle = Callable[[bytes], float]
Keep = Callable[[int], bool]
"""Whether a connection may have so many bytes of an unfinished message here."""


def text_frame(payload: bytes) -> bytes:
    """Build an unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class DirectProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol with a direct way for text frames once a consumer asked for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handle: Handle | None = None
        self._buffer = bytearray()
        self._keep: Keep = lambda size: True
        self._kept = 0
        self._began = 0.0
        self._message_seconds = 60.0
        self.on_drained: Callable[[], None] = lambda: None
        self._is_waiting = False
        self._fragments = 0
        self._controls = TokenBucket(CONTROLS_PER_SECOND, CONTROLS_BURST)

    # What the consumer uses

    def take_over(self, handle: Handle, keep: Keep | None = None, message_seconds: float = 60.0) -> bool:
        """Send each text message to ``handle`` from now on, what came before the handshake was over first.

        ``keep`` is asked for the bytes of an unfinished message beyond FREE_BYTES; a message that takes longer than
        ``message_seconds`` ends the connection. False when the client is gone already.
        """
        if not self.queue.empty() or self.disconnected:
            return False
        self._handle, self._message_seconds = handle, message_seconds
        if keep is not None:
            self._keep = keep
        if self._buffer:
            self._is_waiting = True
            self.loop.call_soon(self._go_on)
        return True

    def write_text(self, payload: bytes, before: Iterable[bytes] = ()) -> None:
        """Send one text message, now and in one write with those that go ``before`` it."""
        if self.disconnected or self.close_sent:
            return
        frame = text_frame(payload)
        self.transport.write(b"".join((*map(text_frame, before), frame)) if before else frame)

    def waiting_bytes(self) -> int:
        """Bytes written that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Drop the connection without waiting for the client to read."""
        if not self.disconnected:
            self.transport.abort()

    # What uvicorn calls

    def shutdown(self) -> None:
        """The server ends: so does the connection, once what was written has gone, but without a close frame.

        A closing handshake says that the conversation is over, and libraries take it at its word: RxJS completes the
        stream, so that applesauce never connects again. A connection that breaks is to be made again (RFC 6455, 7.2.3).
        """
        if self._handle is None or self.close_sent:
            super().shutdown()
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE})
        self.close_sent = True
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Offer the direct way to the application."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        """Split what arrived into frames, or let uvicorn do so before ``take_over``."""
        if self._handle is None:
            self._early(data)
            return
        self._buffer += data
        if not self._is_waiting:
            self._read(self._handle)
        if self._buffer or self._kept or self.conn.current_size:
            self._bound_unfinished()

    async def receive(self) -> ASGIReceiveEvent:
        """Hand an application that did not take over what came early."""
        if self._handle is None and self.handshake_complete and self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            self.transport.resume_reading()
            super().data_received(data)
        return await super().receive()

    def resume_writing(self) -> None:
        """The client has taken what waited for it."""
        super().resume_writing()
        self.on_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the session."""
        self._buffer.clear()
        self._handle = None
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        """Take a fragmented message that is now complete to where whole ones go."""
        self._fragments = 0
        if self._handle is None or self.curr_msg_data_type != "text" or self.close_sent:
            super().send_receive_event_to_app()
            return
        payload, self.frames = b"".join(self.frames), []
        self._pause(self._handle(payload))

    def handle_cont(self, event: Frame) -> None:
        """Bound the fragments of a message: empty ones would otherwise be kept without end."""
        self._fragments += 1
        if self._fragments > MOST_FRAGMENTS:
            self.abort()
        else:
            super().handle_cont(event)

    # Inside

    def _read(self, handle: Handle) -> None:
        """Act on every complete frame of the buffer."""
        buffer, start, left = self._buffer, 0, FRAMES_A_TURN
        while not self.transport.is_closing():
            frame = frame_at(buffer, start)
            if frame is None:
                break
            body, end = frame
            if end - body > self.config.ws_max_size:
                end = len(buffer)
                self._let_uvicorn(bytes(buffer[start:]))
            elif end > len(buffer):
                break
            elif buffer[start] == TEXT_MASKED and buffer[start + 1] & 0x80 and self.conn.current_size is None:
                if not self.close_sent:
                    self._pause(handle(apply_mask(bytes(buffer[body:end]), bytes(buffer[body - 4 : body]))))
            else:
                self._let_uvicorn(bytes(buffer[start:end]))
            start = end
            left -= 1
            if not left:
                self._pause(TURN)
            if self._is_waiting:
                break
        if start:
            del buffer[:start]
            if not self.conn.current_size:
                self._began = 0.0

    def _early(self, data: bytes) -> None:
        """The handshake's head is uvicorn's; what follows before its answer waits, so much of it that it is bounded."""
        if not self.handshake_initiated or self.close_sent:
            super().data_received(data)
            return
        self._buffer += data
        if len(self._buffer) > FREE_BYTES:
            self.transport.pause_reading()

    def _bound_unfinished(self) -> None:
        """Count what is here of a message that is not complete, or not acted on yet; without room, end it."""
        size = len(self._buffer) + (self.conn.current_size or 0)
        if size <= FREE_BYTES and not self._kept:
            return
        self._kept = size if size > FREE_BYTES else 0
        now = self.loop.time()
        self._began = self._began or now
        is_slow = not self._is_waiting and now - self._began > self._message_seconds
        if is_slow or not self._keep(size):
            self.abort()

    def _let_uvicorn(self, frame: bytes) -> None:
        if frame[0] & 0x08 and not self._controls.take():
            self.abort()
        else:
            super().data_received(frame)

    def _pause(self, seconds: float) -> None:
        """Stop reading for a while: the client sends faster than it may."""
        if seconds > 0 and not self._is_waiting:
            self._is_waiting = True
            self.transport.pause_reading()
            self.loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._is_waiting = False
        if self._handle is None or self.transport.is_closing():
            return
        self._read(self._handle)
        self._bound_unfinished()
        if not self._is_waiting:
            self.transport.resume_reading()


def frame_at(buffer: bytearray, start: int) -> tuple[int, int] | None:
    """Return where the payload of the frame at ``start`` begins and ends; None while its header is incomplete."""
    there = len(buffer) - start
    if there < 2:
        return None
    second = buffer[start + 1]
    size, body = second & 0x7F, start + 2
    if size == 126:
        size, body = int.from_bytes(buffer[body : body + 2], "big"), body + 2
    elif size == 127:
        size, body = int.from_bytes(buffer[body : body + 8], "big"), body + 8
    if second & 0x80:
        body += 4
    return None if body > len(buffer) else (body, body + size)


def direct_of(scope: Any) -> DirectProtocol | None:
    """Return the direct way that this connection's server offers, if it does."""
    direct = scope.get("extensions", {}).get(EXTENSION)
    return direct if isinstance(direct, DirectProtocol) else None


class DirectFrameSink:
    """A session's frames straight to the transport; see ``session.Out``."""

    __slots__ = ("_direct", "_lazy", "_most_bytes", "_unread", "is_overflown")

    def __init__(self, direct: DirectProtocol, most_bytes: int, unread: Holding | None = None) -> None:
        self._direct = direct
        self._unread = unread
        direct.on_drained = self._drained
        self._most_bytes = most_bytes
        self._lazy: list[bytes] = []
        self.is_overflown = False

    def put(self, frame: bytes, *, lazy: bool = False) -> None:
        """Write a frame, or keep a lazy one for the next write; a client that does not read is dropped."""
        if lazy:
            self._lazy.append(frame)
            return
        if self.is_overflown:
            return
        self._direct.write_text(frame, self._lazy)
        self._lazy.clear()
        waiting = self._direct.waiting_bytes()
        if waiting > self._most_bytes or (
            self._unread is not None and waiting > UNREAD_FREE and not self._unread.resize(waiting)
        ):
            self.is_overflown = True
            self._direct.abort()

    def _drained(self) -> None:
        if self._unread is not None:
            self._unread.resize(0)

    def withdraw(self, frame: bytes) -> None:
        """Take a lazy frame back, if it has not been written yet."""
        with suppress(ValueError):
            self._lazy.remove(frame)

    def waiting_bytes(self) -> int:
        """Bytes written that the client has not taken yet."""
        return self._direct.waiting_bytes()

    def flush(self) -> None:
        """Write the lazy frames."""
        if self._lazy:
            self.put(self._lazy.pop())
