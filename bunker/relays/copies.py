"""One reply for many subscriptions of one connection: first to the one that most likely waits for it, then to others.

Some libraries open a subscription for each request, all with one filter (nostrify). NIP-01 has every reply go to all of
them, n times n frames for n requests at once: the client checks each signature, takes seconds, reads too slowly, and is
disconnected. So the others get their copy when the client is done with closing what was answered. Within the bounds
below nothing is withheld from a subscription that stays open; of few subscriptions none waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bunker.relays.session import RelaySession, Subscription
    from keycast.nostr.nip01 import Event

AT_ONCE = 4
"""Of so many subscriptions that want a reply, each gets it at once."""
QUIET_SECONDS = 0.5
"""A client that closed nothing for as long, and got no reply, is done: its other subscriptions are there to stay."""
MOST_SECONDS = 3.0
"""As long as copies wait for a client that goes on closing subscriptions."""
TICK_SECONDS = 0.1
FRAMES_PER_TICK = 64
MOST_REPLIES = 1_000
"""Replies whose copies wait, of one connection. Above, the oldest are left out: the connection had them once each."""


class _Waiting(NamedTuple):
    since: float
    event: Event
    recipient: str
    raw: bytes
    first: Subscription
    serial: int


class RequestOrder:
    """Which subscription was most likely opened for which request of a connection."""

    __slots__ = ("_free", "_fresh", "_latest")

    def __init__(self) -> None:
        self._free: OrderedDict[Subscription, None] = OrderedDict()
        self._fresh = 0
        self._latest: Subscription | None = None

    def opened(self, subscription: Subscription) -> None:
        """A subscription was opened."""
        self._free[subscription] = None
        self._fresh += 1
        self._latest = subscription

    def closed(self, subscription: Subscription) -> None:
        """A subscription was closed."""
        self._free.pop(subscription, None)
        if subscription is self._latest:
            self._latest = None

    def of_next_request(self) -> Subscription | None:
        """The one that a request is for which comes now, if any is open: each is for one request, while they last.

        REQ, EVENT, REQ, EVENT: the one just before. REQ, REQ, EVENT, EVENT: in their order.
        """
        fresh, self._fresh = self._fresh, 0
        if not self._free:
            return self._latest
        return self._free.popitem(last=fresh == 1)[0]


class WaitingCopies:
    """The copies of one connection that wait. Runs on the event loop; ``close`` ends it."""

    __slots__ = ("_clock", "_last", "_left", "_most_bytes", "_queue", "_session", "_size", "_timer")

    def __init__(self, session: RelaySession, most_bytes: int, clock: Callable[[], float]) -> None:
        self._session = session
        self._most_bytes = most_bytes
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._left: deque[Subscription] | None = None
        self._size = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, event: Event, recipient: str, raw: bytes, first: Subscription, serial: int) -> None:
        """Let all that want the reply have it later, but ``first`` and what is opened after the one with ``serial``."""
        self._last = self._clock()
        self._queue.append(_Waiting(self._last, event, recipient, raw, first, serial))
        self._size += len(raw)
        while len(self._queue) > MOST_REPLIES or self._size > self._most_bytes:
            self._drop_oldest()
        self._start()

    def subscription_closed(self) -> None:
        """The client closed one: it is at work on what it got."""
        self._last = self._clock()

    def close(self) -> None:
        """The connection is gone."""
        self._queue.clear()
        self._left, self._size = None, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        if self._timer is None and self._queue:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)

    def tick(self) -> None:
        """Send some, if it is time, and come again while more wait."""
        self._timer = None
        frames = FRAMES_PER_TICK
        while frames and self._queue and self._is_time(self._queue[0]):
            waiting = self._queue[0]
            if self._left is None:
                self._left = self._others(waiting)
            while self._left and frames and self._session.out.waiting_bytes() < self._most_bytes // 4:
                subscription = self._left.popleft()
                if self._session.subscriptions.get(subscription.name) is subscription:
                    self._session.deliver(subscription, waiting.event.id, waiting.raw)
                    frames -= 1
            if self._left:
                break
            self._drop_oldest()
        self._start()

    def _is_time(self, waiting: _Waiting) -> bool:
        now = self._clock()
        return now - self._last >= QUIET_SECONDS or now - waiting.since >= MOST_SECONDS

    def _others(self, waiting: _Waiting) -> deque[Subscription]:
        return deque(
            found
            for found in self._session.subscriptions.values()
            if found is not waiting.first
            and found.serial <= waiting.serial
            and found.wants(waiting.event, waiting.recipient)
        )

    def _drop_oldest(self) -> None:
        self._left = None
        self._size -= len(self._queue.popleft().raw)
