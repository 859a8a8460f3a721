"""Token buckets kept as two numbers inside the record they belong to: no object, no lock, no clock of their own."""

from __future__ import annotations


class Bucket:
    """``rate`` tokens a second up to ``burst``; the caller brings the monotonic time."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one token, or say no."""
        tokens = min(self._tokens + (now - self._at) * self.rate, self.burst)
        self._at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True


class RecentIds:
    """Event ids taken lately, bounded: two generations, of which the older is dropped when the younger is full."""

    __slots__ = ("_capacity", "_older", "_younger")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._younger: set[str] = set()
        self._older: set[str] = set()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._younger or event_id in self._older

    def add(self, event_id: str) -> None:
        """Remember one id."""
        if len(self._younger) >= self._capacity:
            self._older, self._younger = self._younger, set()
        self._younger.add(event_id)

    def discard(self, event_id: str) -> None:
        """Forget one id, because the event could not be handled and may come again."""
        self._younger.discard(event_id)
        self._older.discard(event_id)
