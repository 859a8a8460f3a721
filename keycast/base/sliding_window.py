"""A bound on how often something happens in any stretch of time of one length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic


class SlidingWindow:
    """At most ``most`` times in any ``seconds``, exactly; monotonic clock. Keeps the time of each, at most ``most``.

    A token bucket with the same numbers lets twice as many through in its first minute.
    """

    __slots__ = ("_clock", "_times", "most", "seconds")

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.most = most
        self.seconds = seconds
        self._clock = clock
        self._times: deque[float] = deque()

    def take(self) -> bool:
        """Count one more now, or return False where that is one too many."""
        now, times = self._clock(), self._times
        oldest = now - self.seconds
        while times and times[0] <= oldest:
            times.popleft()
        if len(times) >= self.most:
            return False
        times.append(now)
        return True

    def inherit(self, before: SlidingWindow) -> None:
        """Count what happened under another bound too, which it takes the place of."""
        self._times = before._times
