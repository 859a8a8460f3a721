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
