"""Requests that wait for a worker that is starting or moving: for a minute, bounded in all and for each tenant."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bunker.relays.event_checks import IntakeSource
from bunker.relays.shared_bound import SharedBound

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event


class Waiting(NamedTuple):
    """One request; ``at`` is monotonic time."""

    at: float
    event: Event
    raw: bytes
    source: IntakeSource


class Backlog:
    """At most ``events`` and ``size`` bytes; one tenant has three quarters of both at most."""

    def __init__(self, seconds: float, events: int, size: int, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._waiting: deque[Waiting] = deque()
        self._events = SharedBound(events - events // 4, events)
        self._bytes = SharedBound(size - size // 4, size)

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, event: Event, raw: bytes, source: IntakeSource) -> bool:
        """Keep a request; False when there is no room."""
        self._forget()
        tenant = source.scope or ""
        if not self._events.has_room(tenant, 1) or not self._bytes.change(tenant, len(raw)):
            return False
        self._events.change(tenant, 1)
        self._waiting.append(Waiting(self._clock(), event, raw, source))
        return True

    def take(self) -> list[Waiting]:
        """Return what waits and is not too old, in the order in which it came, and forget it."""
        self._forget()
        taken = list(self._waiting)
        while self._waiting:
            self._drop_first()
        return taken

    def _forget(self) -> None:
        oldest = self._clock() - self._seconds
        while self._waiting and self._waiting[0].at < oldest:
            self._drop_first()

    def _drop_first(self) -> None:
        first = self._waiting.popleft()
        tenant = first.source.scope or ""
        self._events.change(tenant, -1)
        self._bytes.change(tenant, -len(first.raw))
