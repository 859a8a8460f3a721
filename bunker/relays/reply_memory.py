"""The built-in relay's short memory of replies, shared out between tenants: a busy one makes none forget."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from bunker.relays.filters import Filter
from bunker.relays.reply_cache import RecentEvent, RecentEvents

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

SWEEP_SECONDS = 1.0


class ReplyMemory:
    """One RecentEvents for each tenant (UUID hex), bounded together by number and bytes.

    When it is full, whoever has more than the average makes room of its own; for the others the largest does.
    """

    def __init__(self, seconds: float, events: int, size: int, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._most_events, self._most_bytes, self._clock = seconds, events, size, clock
        self._tenants: dict[str, RecentEvents] = {}
        self._events = self._bytes = 0
        self._swept = clock()

    def __len__(self) -> int:
        return self._events

    @property
    def size(self) -> int:
        """Bytes of all that is remembered."""
        return self._bytes

    def count_of(self, tenant: str) -> int:
        """How many replies of ``tenant`` are remembered."""
        return len(self._tenants.get(tenant, ()))

    def add(self, tenant: str, event: Event, recipient: str, raw: bytes) -> None:
        """Remember a reply of a signer of ``tenant``, and forget what is over a bound."""
        own = self._tenants.get(tenant)
        if own is None:
            own = self._tenants[tenant] = RecentEvents(self._seconds, self._most_events, self._most_bytes, self._clock)
        before, size = len(own), own.size
        own.add(event, recipient, raw)
        self._note(own, before, size)
        if self._is_over():
            self._make_room(own)

    def find(self, tenant: str, wanted: Filter, most: int) -> tuple[list[RecentEvent], int]:
        """As RecentEvents.find, of one tenant's replies."""
        own = self._tenants.get(tenant)
        if own is None:
            return [], 0
        before, size = len(own), own.size
        found = own.find(wanted, most)
        self._note(own, before, size)
        return found

    def reply_to(self, tenant: str, request: str) -> RecentEvent | None:
        """As RecentEvents.reply_to, of one tenant's replies."""
        own = self._tenants.get(tenant)
        if own is None:
            return None
        before, size = len(own), own.size
        found = own.reply_to(request)
        self._note(own, before, size)
        return found

    def _note(self, changed: RecentEvents, before: int, size: int) -> None:
        self._events += len(changed) - before
        self._bytes += changed.size - size

    def _is_over(self) -> bool:
        return self._events > self._most_events or self._bytes > self._most_bytes

    def _make_room(self, own: RecentEvents) -> None:
        now = self._clock()
        if now - self._swept >= SWEEP_SECONDS:
            self._sweep(now)
        while self._is_over():
            is_large = self._share(own) * len(self._tenants) >= self._events / self._most_events + (
                self._bytes / self._most_bytes
            )
            giving = own if is_large else max(self._tenants.values(), key=self._share)
            before, size = len(giving), giving.size
            giving.forget_oldest()
            self._note(giving, before, size)

    def _share(self, memory: RecentEvents) -> float:
        return len(memory) / self._most_events + memory.size / self._most_bytes

    def _sweep(self, now: float) -> None:
        """Forget what is too old of tenants that nobody asked about, and tenants that have nothing."""
        self._swept = now
        for tenant, memory in list(self._tenants.items()):
            before, size = len(memory), memory.size
            memory.forget_old()
            self._note(memory, before, size)
            if not len(memory):
                del self._tenants[tenant]
