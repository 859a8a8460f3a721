"""Recent replies of one tenant's signers, so that a client that reconnects with ``since`` misses nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from bunker.relays.filters import Filter

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event


class RecentEvent(NamedTuple):
    """One event of the memory; ``until`` is monotonic time, ``raw`` its JSON."""

    until: float
    event: Event
    recipient: str
    raw: bytes


class RecentEvents:
    """Bounded by age, number and bytes; the oldest go first."""

    def __init__(self, seconds: float, events: int, size: int, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._most_events, self._most_bytes, self._clock = seconds, events, size, clock
        self._all: deque[RecentEvent] = deque()
        self._by_recipient: dict[str, deque[RecentEvent]] = {}
        self._by_author: dict[str, deque[RecentEvent]] = {}
        self._by_id: dict[str, RecentEvent] = {}
        self._by_request: dict[str, RecentEvent] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, event: Event, recipient: str, raw: bytes) -> None:
        """Remember an event and forget what is over a bound."""
        now = self._clock()
        item = RecentEvent(now + self._seconds, event, recipient, raw)
        self._all.append(item)
        self._by_recipient.setdefault(recipient, deque()).append(item)
        self._by_author.setdefault(event.pubkey, deque()).append(item)
        self._by_id[event.id] = item
        if request := request_of(event):
            self._by_request[request] = item
        self.size += len(raw)
        self._forget(now)

    def find(self, wanted: Filter, most: int) -> tuple[list[RecentEvent], int]:
        """Return what matches, newest first (ties by id, NIP-01), at most ``wanted.limit``; and how many it looked at.

        Those are at most ``most``, the latest to come: a filter by author may have all of the memory to look through.
        """
        self._forget(self._clock())
        if wanted.limit == 0:
            return [], 0
        looked_at = list(islice(self._candidates(wanted), most))
        found = [item for item in looked_at if wanted.matches(item.event, item.recipient)]
        found.sort(key=lambda item: (-item.event.created_at, item.event.id))
        return found[: wanted.limit], len(looked_at)

    def _candidates(self, wanted: Filter) -> Iterable[RecentEvent]:
        if wanted.recipients is not None:
            return self._of(self._by_recipient, wanted.recipients)
        if wanted.authors is not None:
            return self._of(self._by_author, wanted.authors)
        return (item for key in wanted.ids or () if (item := self._by_id.get(key)) is not None)

    def forget_old(self) -> None:
        """Forget what is too old."""
        self._forget(self._clock())

    def forget_oldest(self) -> None:
        """Forget the oldest."""
        if self._all:
            self._drop_first()

    def reply_to(self, request: str) -> RecentEvent | None:
        """The reply that names the event id ``request`` in its e tag, if it is remembered; the latest of several."""
        self._forget(self._clock())
        return self._by_request.get(request)

    @staticmethod
    def _of(index: dict[str, deque[RecentEvent]], keys: Iterable[str]) -> Iterator[RecentEvent]:
        """What is listed under any of ``keys``, the latest to come first."""
        lists = [reversed(index[key]) for key in keys if key in index]
        return lists[0] if len(lists) == 1 else merge(*lists, key=lambda item: -item.until)

    def _forget(self, now: float) -> None:
        while self._all and (
            self._all[0].until <= now or len(self._all) > self._most_events or self.size > self._most_bytes
        ):
            self._drop_first()

    def _drop_first(self) -> None:
        item = self._all.popleft()
        self.size -= len(item.raw)
        self._unlist(self._by_recipient, item.recipient)
        self._unlist(self._by_author, item.event.pubkey)
        if self._by_id.get(item.event.id) is item:
            del self._by_id[item.event.id]
        request = request_of(item.event)
        if self._by_request.get(request) is item:
            del self._by_request[request]

    @staticmethod
    def _unlist(index: dict[str, deque[RecentEvent]], key: str) -> None:
        # The oldest of all is also the oldest under its key, so it stands first here.
        items = index[key]
        items.popleft()
        if not items:
            del index[key]


def request_of(event: Event) -> str:
    """The event id of the request that a reply of ours answers (its e tag); empty without one."""
    return next((tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "e"), "")
