"""uvicorn's protocols within our bounds: half-sent requests, endless heads and clients that take nothing end here.

uvicorn itself bounds neither the time nor the size of a request's head, nor how long an answer waits for its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bunker.relays.direct_protocol import DirectProtocol
from keycast.crypto.secret import wipe_bytes
from keycast.serving import wiping
from keycast.serving.connections import ConnectionRegister, OpenConnection

AGE: Final = "age"
TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 27\r\n\r\nRequest headers too large.\n"
)


class StallWatch:
    """Whether a client takes what was written for it."""

    __slots__ = ("_since", "_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._unsent = 0
        self._since: float | None = None

    def seconds(self, now: float) -> float | None:
        """For how long the client has taken nothing, as far as is seen by asking now and then; None: nothing waits."""
        unsent = self._transport.get_write_buffer_size()
        is_progress, self._unsent = unsent < self._unsent, unsent
        if not unsent:
            self._since = None
            return None
        if is_progress or self._since is None:
            self._since = now
        return now - self._since

    def progress(self) -> None:
        """It took so much that more may be written."""
        self._since = None


class BoundedHttpProtocol(HttpToolsProtocol):
    """One HTTP connection: it waits for a head, then works on a request until its answer is complete."""

    register: ClassVar[ConnectionRegister]
    secret_paths: ClassVar[Collection[str]] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_secret = self._has_secret_now = False
        self._limits = self.register.limits
        self._made = self._since = self.register.clock()
        self._is_working = self._is_refused = False
        self._is_in_head = self._is_in_message = self._has_begun_now = False
        self._wire = self._head = 0
        self._stall = StallWatch(transport)
        if self.register.add(self, self.client[0] if self.client else ""):
            self.register.waits(self)
        else:
            self.end("")

    def connection_lost(self, exc: Exception | None) -> None:
        self.register.remove(self)
        super().connection_lost(exc)

    # What the register asks

    def overdue(self, now: float) -> str | None:
        """Why this connection is to end now, or None."""
        limits, waited = self._limits, self._stall.seconds(now)
        if waited is not None and waited > limits.stall_seconds:
            return "stall"
        if self._is_working or waited is not None:
            return "request" if now - self._since > limits.request_seconds else None
        return "head" if now - self._since > limits.head_seconds else None

    def end(self, reason: str) -> None:
        """End it without waiting for anything."""
        self._is_refused = True
        self.transport.abort()

    # What uvicorn and its parser call

    def data_received(self, data: bytes) -> None:
        """Read on, unless this request is longer than any may be.

        What the parser keeps until a header, a chunk or a trailer is complete is out of our sight, so bytes are counted
        as they come; the first read of a message is not, for it may hold the end of the one before.
        """
        if self._is_refused:
            return
        self._has_begun_now = False
        self._has_secret_now = self._is_secret
        super().data_received(data)
        if self._has_secret_now:
            # The parser has copied what it wanted, and nothing else refers to what was read.
            wipe_bytes(data)
            wiping.overwrite_read_buffer(self.loop, len(data))
        if not self._is_in_message or self._has_begun_now or self._is_refused:
            return
        self._wire += len(data)
        if self._is_in_head and self._wire > self._limits.head_bytes:
            self._refuse_head()
        elif self._wire > self._limits.head_bytes + 2 * self._limits.body_bytes:
            self.end("")

    def handle_websocket_upgrade(self) -> None:
        """The connection goes on as a websocket, and stays counted."""
        super().handle_websocket_upgrade()
        self.register.replace(self, cast("OpenConnection", self.transport.get_protocol()))

    def on_message_begin(self) -> None:
        if self._is_refused:
            return
        super().on_message_begin()
        self._is_in_message = self._is_in_head = self._has_begun_now = True
        self._wire = self._head = 0
        if not self._is_working:
            self._since = self.register.clock()

    def on_url(self, url: bytes) -> None:
        if not self._is_refused:
            super().on_url(url)
            self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers come here too, after the body; nothing needs them, and they are no headers."""
        if self._is_in_head and not self._is_refused:
            super().on_header(name, value)
            self._head += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._is_in_head = False
        self._wire = 0
        if self._head > self._limits.head_bytes or len(self.headers) > self._limits.head_fields:
            self._refuse_head()
            return
        super().on_headers_complete()
        if self.cycle is not None and self.scope.get("path") in self.secret_paths:  # none of a websocket
            self._is_secret = self._has_secret_now = True
            self.cycle.body = wiping.WipedBuffer()
        now = self.register.clock()
        if self.cycle is not None and now - self._made > self._limits.http_age:
            self.cycle.keep_alive = False
        if not self._is_working:
            self._is_working, self._since = True, now
            self.register.works(self)

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)
        if self._is_secret:
            wipe_bytes(body)  # the parser made it for this call

    def on_message_complete(self) -> None:
        if not self._is_refused:
            super().on_message_complete()
            self._is_in_message = self._is_secret = False
            self._wire = 0

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        self._since = self.register.clock()
        if is_last:
            self._is_working = False
            self.register.waits(self)

    def resume_writing(self) -> None:
        self._stall.progress()
        super().resume_writing()

    # Inside

    def _refuse_head(self) -> None:
        self._is_refused = True
        self.transport.write(TOO_LARGE)
        self.transport.close()


class BoundedWebsocketProtocol(DirectProtocol):
    """A websocket, which ends when it is old; how fast and how much it is read is the relay's business."""

    register: ClassVar[ConnectionRegister]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made = self.register.clock()
        self._stall: StallWatch | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.register.remove(self)
        super().connection_lost(exc)

    def overdue(self, now: float) -> str | None:
        """Why this connection is to end now, or None."""
        if self.transport.is_closing():
            self._stall = self._stall or StallWatch(self.transport)
            return "stall" if (self._stall.seconds(now) or 0.0) > self.register.limits.stall_seconds else None
        return AGE if now - self._made > self.register.limits.websocket_age else None

    def end(self, reason: str) -> None:
        """End it: an old one after what was written, so that the client connects again, any other at once."""
        if reason == AGE:
            self.shutdown()
        else:
            self.abort()


def protocols(
    register: ConnectionRegister, secret_paths: Collection[str] = ()
) -> tuple[type[BoundedHttpProtocol], type[BoundedWebsocketProtocol]]:
    """The two classes for one server: uvicorn makes a connection of them without telling which server it is of.

    What is sent to one of ``secret_paths`` is overwritten in every buffer on its way to keycast.serving.guard.
    """

    class Http(BoundedHttpProtocol):
        pass

    class Websocket(BoundedWebsocketProtocol):
        pass

    Http.secret_paths = frozenset(secret_paths)
    Http.register = Websocket.register = register
    return Http, Websocket
