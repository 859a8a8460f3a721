"""The asking end: one connection an event loop, many requests at once, every wait bounded."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from keycast.base.errors import KeycastError
from keycast.base.service_status import ServiceStatus
from keycast.crypto.secret import wipe_bytes
from keys.signing.wire.frames import FrameProtocol

MAX_NUMBER: Final = 2**32


class NumberedMessage(Protocol):
    """A message: its ``number`` says which request a reply is for."""

    @property
    def number(self) -> int: ...


A = TypeVar("A", bound=NumberedMessage)
Open = Callable[[asyncio.AbstractEventLoop, Callable[[], FrameProtocol]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ConnectionErrors:
    """What is raised: the connection or the time ended after the request was sent; too many requests wait already."""

    lost: Callable[[], Exception]
    busy: Callable[[], Exception]


class _RequestConnection(Generic[A]):
    """One connection and who waits on it."""

    def __init__(self, decode: Callable[[bytes], A], lost: Callable[[], Exception]) -> None:
        self._decode, self._lost = decode, lost
        self.waiting: dict[int, asyncio.Future[A]] = {}
        self.frames = FrameProtocol(self._take, self._end)
        self.is_open = True
        self._next = 0

    def number(self) -> int:
        self._next = (self._next + 1) % MAX_NUMBER
        return self._next

    def _take(self, _: FrameProtocol, frame: bytes) -> None:
        try:
            reply = self._decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            self.frames.abort()
            return
        finally:
            wipe_bytes(frame)
        future = self.waiting.pop(reply.number, None)
        if future is not None and not future.done():
            future.set_result(reply)

    def _end(self, _: FrameProtocol) -> None:
        self.is_open = False
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(self._lost())


class RequestConnections(Generic[A]):
    """One line for each event loop. ``open_line`` connects, within a time of its own, or raises.

    ``encode`` and ``decode`` turn messages into frames and back.
    """

    def __init__(
        self,
        open_line: Open,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], A],
        failures: ConnectionErrors,
        at_once: int,
        service_status: ServiceStatus | None = None,
    ) -> None:
        self._open_line, self._encode, self._decode = open_line, encode, decode
        self._failures, self._at_once, self._service_status = failures, at_once, service_status
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _RequestConnection[A]] = (
            weakref.WeakKeyDictionary()
        )
        self._opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def ask(self, request: Callable[[int], Any], within: float, until: float = math.inf) -> A:
        """Send the request that ``request`` makes of a number; its reply, in ``within`` seconds after that.

        ``until``, by the event loop's clock, bounds connecting as well.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None or not line.is_open:
            line = await self._opened(loop)
        if len(line.waiting) >= self._at_once:
            raise self._failures.busy()
        number = line.number()
        future: asyncio.Future[A] = loop.create_future()
        line.waiting[number] = future
        timer = loop.call_at(min(loop.time() + within, until), _expire, future, self._failures.lost)
        try:
            line.frames.send(self._encode(request(number)))
            return await future
        finally:
            timer.cancel()
            line.waiting.pop(number, None)
            self._note(future)

    def _note(self, future: asyncio.Future[A]) -> None:
        """Tell the service's status whether there was an answer; whoever gave up waiting says nothing about that."""
        if self._service_status is None or not future.done() or future.cancelled():
            return
        failure = future.exception()
        if failure is None:
            self._service_status.good()
        else:
            self._service_status.bad(type(failure).__name__)

    async def close(self) -> None:
        """End this loop's connection."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            line.frames.abort()

    async def _opened(self, loop: asyncio.AbstractEventLoop) -> _RequestConnection[A]:
        async with self._opening.setdefault(loop, asyncio.Lock()):
            line = self._lines.get(loop)
            if line is None or not line.is_open:
                made = line = _RequestConnection(self._decode, self._failures.lost)
                try:
                    await self._open_line(loop, lambda: made.frames)
                except KeycastError as failure:
                    if self._service_status is not None:
                        self._service_status.bad(type(failure).__name__)
                    raise
                self._lines[loop] = line
            return line


def _expire(future: asyncio.Future[Any], lost: Callable[[], Exception]) -> None:
    if not future.done():
        future.set_exception(lost())
