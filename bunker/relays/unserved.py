"""Events whose signer no worker serves at this moment: offered again for some seconds, while a lease changes hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from bunker.relays.interfaces import DropReason

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

Offer = Callable[["Event", bytes], DropReason | None]
GiveUp = Callable[["Event"], None]


class RetryQueue:
    """Offers an event again after 1, 3 and 7 seconds (a lease is taken over within 5), then gives it up. Bounded."""

    def __init__(
        self,
        offer: Offer,
        give_up: GiveUp,
        capacity: int,
        pauses: tuple[float, ...] = (1, 2, 4),
        *,
        most_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._offer, self._give_up, self._capacity, self._pauses = offer, give_up, capacity, pauses
        self._most_bytes, self._bytes = most_bytes, 0
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, event: Event, raw: bytes) -> bool:
        """Take an event to offer again; False when too many wait."""
        if len(self._waiting) >= self._capacity or self._bytes + len(raw) > self._most_bytes:
            return False
        self._wait(event, raw, 0)
        return True

    def clear(self) -> None:
        """Offer nothing any more."""
        for handle in self._waiting.values():
            handle.cancel()
        self._waiting.clear()
        self._bytes = 0

    def _wait(self, event: Event, raw: bytes, turn: int) -> None:
        self._bytes += len(raw)
        loop = asyncio.get_running_loop()
        self._waiting[event.id] = loop.call_later(self._pauses[turn], self._again, event, raw, turn + 1)

    def _again(self, event: Event, raw: bytes, turn: int) -> None:
        del self._waiting[event.id]
        self._bytes -= len(raw)
        if self._offer(event, raw) is not DropReason.NOT_READY:
            return
        if turn < len(self._pauses):
            self._wait(event, raw, turn)
        else:
            self._give_up(event)
