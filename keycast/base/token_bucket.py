"""Token buckets: how much work a relay, an address, an app or everybody together may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic


class TokenBucket:
    """Refills ``rate`` tokens a second up to ``burst``; monotonic clock, so a stepping wall clock changes nothing.

    Whoever has read the clock already passes ``now``; one that lies before the last refills nothing.
    """

    __slots__ = ("_at", "_clock", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._clock = clock
        self._at = clock()

    def take(self, amount: float = 1.0, now: float | None = None) -> bool:
        """Take ``amount`` tokens, or none and return False."""
        if now is None:
            now = self._clock()
        tokens = self._tokens
        if now > self._at:
            filled = tokens + (now - self._at) * self.rate
            tokens = filled if filled < self.burst else self.burst  # min() takes as long as all the rest
            self._at = now
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True

    def charge(self, amount: float = 1.0) -> float:
        """Take ``amount`` tokens in any case; returns how many seconds to wait until the debt is paid, usually 0.0."""
        self.take(0.0)
        self._tokens -= amount
        return 0.0 if self._tokens >= 0 else -self._tokens / self.rate

    def give_back(self, amount: float = 1.0) -> None:
        """Return tokens that were taken for work that was then not done."""
        self._tokens = min(self.burst, self._tokens + amount)

    def idle_for(self) -> float:
        """Seconds since anybody last asked."""
        return self._clock() - self._at


class BucketMap:
    """One bucket per name (an IP address, a key), bounded: the least recently used is forgotten first.

    If that one is asked again its bucket is full: a burst more, for a memory that stays bounded.
    """

    def __init__(self, rate: float, burst: float, capacity: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._capacity, self._clock = rate, burst, capacity, clock
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, name: Hashable) -> TokenBucket:
        """Return the bucket of ``name``, new and full if it was not known."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(self._rate, self._burst, self._clock)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket
