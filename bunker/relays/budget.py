"""Token buckets: how much work a relay, an address or everybody together may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """Refills ``rate`` tokens a second up to ``burst``; monotonic clock, so a stepping wall clock changes nothing."""

    __slots__ = ("_clock", "_tokens", "_updated", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._clock = clock
        self._updated = clock()

    def take(self, amount: float = 1.0) -> bool:
        """Take ``amount`` tokens, or none and return False."""
        now = self._clock()
        tokens = min(self.burst, self._tokens + (now - self._updated) * self.rate)
        self._updated = now
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True

    def charge(self, amount: float = 1.0) -> float:
        """Take ``amount`` tokens in any case; returns how many seconds to wait until the debt is paid, usually 0.0."""
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._updated) * self.rate) - amount
        self._updated = now
        return 0.0 if self._tokens >= 0 else -self._tokens / self.rate

    def give_back(self, amount: float = 1.0) -> None:
        """Return tokens that were taken for work that was then not done."""
        self._tokens = min(self.burst, self._tokens + amount)

    def idle_for(self) -> float:
        """Seconds since anybody last asked."""
        return self._clock() - self._updated


class BucketMap:
    """One bucket per name (an IP address), bounded: the least recently used is forgotten first."""

    def __init__(self, rate: float, burst: float, capacity: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._capacity, self._clock = rate, burst, capacity, clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, name: str) -> TokenBucket:
        """Return the bucket of ``name``, new and full if it was not known."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(self._rate, self._burst, self._clock)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket
