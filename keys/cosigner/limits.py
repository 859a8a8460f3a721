"""The co-signer's own rate limits: token buckets in memory, bounded in number."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

MAX_BUCKETS: Final = 65_536


class Buckets:
    """One bucket per name: ``rate`` tokens a second up to ``burst``. Used from one thread."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, name: Hashable) -> bool:
        """Take one token; False when there is none."""
        now = self._clock()
        left, at = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        granted = left >= 1
        self._buckets[name] = (left - 1 if granted else left, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            # The one that was idle for longest. If it is asked again its bucket is full: a burst more, for a memory
            # that stays bounded.
            self._buckets.popitem(last=False)
        return granted
