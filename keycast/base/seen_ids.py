"""A bounded memory of ids that were here lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from time import monotonic


class SeenIds:
    """Ids of events, for ``seconds`` and at most ``capacity`` of them; the oldest are forgotten first.

    An ordered dictionary, because finding the first entry of a plain one takes the longer the more went before it.
    """

    __slots__ = ("_capacity", "_clock", "_ids", "_seconds")

    def __init__(self, capacity: int, seconds: float = inf, clock: Callable[[], float] = monotonic) -> None:
        self._capacity, self._seconds, self._clock = capacity, seconds, clock
        self._ids: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        until = self._ids.get(key)
        return until is not None and until > self._clock()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: str) -> None:
        """Remember ``key`` and forget what is over age or over capacity."""
        ids, now = self._ids, self._clock()
        ids[key] = now + self._seconds
        ids.move_to_end(key)
        while len(ids) > self._capacity or next(iter(ids.values())) <= now:
            ids.popitem(last=False)

    def discard(self, key: str) -> None:
        """Forget ``key``, because its event could not be handled and may come again."""
        self._ids.pop(key, None)
