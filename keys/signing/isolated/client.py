"""Asking the signer: many requests at once from an event loop, or one after the other from threads.

Every wait is bounded, all of them together below five seconds. A signer that is starting again is waited for a moment;
one that was not there a moment ago is not waited for again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from django.conf import settings

from keycast.base.service_status import status_of
from keycast.crypto.secret import wipe_bytes
from keys.errors import InvalidOperand
from keys.signing.isolated import messages
from keys.signing.isolated.errors import SignerBusy, SignerFailed, SignerUnavailable, error_of
from keys.signing.isolated.messages import AnyReply, SignerRefusedReply, SignerReply
from keys.signing.wire.frames import HEADER, MAX_FRAME, FrameProtocol
from keys.signing.wire.lines import ConnectionErrors, RequestConnections

R = TypeVar("R", bound=SignerReply)
Make = Callable[[int], messages.SignerRequest]
CONNECT_WITHIN: Final = 2.0
WITHIN: Final = 4.7
"""Seconds for a request, connecting included."""
SPLIT_WITHIN: Final = 12.0
"""Seconds for what waits for the co-signer, in jobs."""
EXPORT_WITHIN: Final = 20.0
"""Seconds for what derives a key from a password, behind others that do."""
FORGET_WITHIN: Final = 1.0
MAX_AT_ONCE: Final = 1024
_PAUSE: Final = 0.1
_GRACE_AGAIN: Final = 5.0
_KEPT: Final = 8
_LEAST: Final = 0.5


class _ConnectionLost(SignerUnavailable):
    """The connection ended, or the time, after the request was sent."""


class SignerGracePeriod:
    """How long to wait for a signer that is not there: once for a while, and not again directly after that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._missed_at = clock, -_GRACE_AGAIN

    def seconds(self) -> float:
        """How long this attempt may try."""
        return 0.0 if self._clock() - self._missed_at < _GRACE_AGAIN else CONNECT_WITHIN

    def missed(self) -> None:
        """It was not there."""
        self._missed_at = self._clock()

    def met(self) -> None:
        """It was."""
        self._missed_at = -_GRACE_AGAIN


class SignerClient:
    """Everything that this process asks of the signer at ``path`` (asked for at each connection)."""

    def __init__(self, path: Callable[[], str] = lambda: settings.SIGNER_SOCKET, at_once: int = MAX_AT_ONCE) -> None:
        self._path = path
        self._grace = SignerGracePeriod()
        self.service_status = status_of("Signer process")
        failures = ConnectionErrors(_ConnectionLost, SignerBusy)
        self._lines: RequestConnections[AnyReply] = RequestConnections(
            self._connect, _encoded, messages.decode_reply, failures, at_once
        )
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._after_fork)

    async def ask(self, make: Make, expected: type[R], within: float = WITHIN) -> R:
        """The reply. Asks again, once, when the connection broke: to sign or to open twice does no harm.

        Raises SignerUnavailable, SignerBusy, and what the signer refused with.
        """
        now = asyncio.get_running_loop().time
        end = now() + within
        try:
            reply = await self._lines.ask(make, within, end)
        except _ConnectionLost:
            if end - now() < _LEAST:
                raise self._unavailable() from None
            try:
                reply = await self._lines.ask(make, within, end)
            except _ConnectionLost:
                raise self._unavailable() from None
        self.service_status.good()
        return _checked(reply, expected)

    def ask_now(self, make: Make, expected: type[R], within: float = WITHIN) -> R:
        """The same for threads, on a connection of their own. Never repeated: what was lost may have been done."""
        body = _encoded(make(1))
        frame = bytearray(len(body).to_bytes(HEADER, "big") + body)
        wipe_bytes(body)
        try:
            return _checked(self._exchange(frame, within), expected)
        finally:
            frame[:] = bytes(len(frame))

    async def close(self) -> None:
        """End this loop's connection, and those of threads."""
        await self._lines.close()
        self._close_idle()

    def _exchange(self, frame: bytearray, within: float) -> AnyReply:
        end = time.monotonic() + within
        connection = self._taken() or self._connected_now()
        try:
            connection.settimeout(max(_LEAST, end - time.monotonic()))
            connection.sendall(frame)
            reply = _received(connection, end)
        except (OSError, EOFError, msgspec.MsgspecError):
            connection.close()
            raise self._unavailable() from None
        self._give_back(connection)
        self.service_status.good()
        return reply

    def _unavailable(self) -> SignerUnavailable:
        self.service_status.bad(SignerUnavailable.__name__)
        return SignerUnavailable()

    async def _connect(self, loop: asyncio.AbstractEventLoop, frames: Callable[[], FrameProtocol]) -> None:
        end = loop.time() + self._grace.seconds()
        while True:
            try:
                async with asyncio.timeout(CONNECT_WITHIN):
                    await loop.create_unix_connection(frames, self._path())
            except (OSError, TimeoutError):
                if loop.time() + _PAUSE > end:
                    self._grace.missed()
                    raise self._unavailable() from None
                await asyncio.sleep(_PAUSE)
            else:
                self._grace.met()
                return

    def _connected_now(self) -> socket.socket:
        end = time.monotonic() + self._grace.seconds()
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(CONNECT_WITHIN)
            try:
                connection.connect(self._path())
            except OSError:
                connection.close()
                if time.monotonic() + _PAUSE > end:
                    self._grace.missed()
                    raise self._unavailable() from None
                time.sleep(_PAUSE)
            else:
                self._grace.met()
                return connection

    def _taken(self) -> socket.socket | None:
        """An idle connection whose other end is still there."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if _is_idle(connection):
                return connection
            connection.close()

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _after_fork(self) -> None:
        """A child shares no connection with its parent: two would read each other's replies."""
        self._lock = threading.Lock()
        self._close_idle()


def _encoded(request: messages.SignerRequest) -> bytes:
    """Raises InvalidOperand for what the signer could not read: no text, or too much of it."""
    try:
        body = messages.encode(request)
    except UnicodeEncodeError:
        raise InvalidOperand from None
    if len(body) > MAX_FRAME:
        raise InvalidOperand
    return body


def _is_idle(connection: socket.socket) -> bool:
    """Whether nothing is to be read: neither an end nor a late reply."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _received(connection: socket.socket, end: float) -> AnyReply:
    size = int.from_bytes(_exactly(connection, HEADER, end), "big")
    if size > MAX_FRAME:
        raise EOFError
    frame = _exactly(connection, size, end)
    try:
        reply: AnyReply = messages.decode_reply(frame)
        return reply
    finally:
        frame[:] = bytes(len(frame))


def _exactly(connection: socket.socket, size: int, end: float) -> bytearray:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        connection.settimeout(max(0.01, end - time.monotonic()))
        count = connection.recv_into(view[filled:])
        if count == 0:
            raise EOFError
        filled += count
    view.release()
    return buffer


def _checked(reply: Any, expected: type[R]) -> R:
    if isinstance(reply, SignerRefusedReply):
        raise error_of(reply.kind, reply.code, reply.text)
    if not isinstance(reply, expected):
        raise SignerFailed
    return reply
