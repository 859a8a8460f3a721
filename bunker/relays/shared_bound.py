"""How much of something its owners may have: each address or tenant, and all of them together."""

from __future__ import annotations

from collections import Counter


class SharedBound:
    """Counts what owners (an IP address, a tenant) have against a bound for each and a bound for all.

    What is counted stays until it is given back; an owner that has nothing costs nothing.
    """

    __slots__ = ("_by_owner", "_most", "_most_each", "total")

    def __init__(self, most_each: int, most: int) -> None:
        self._most_each, self._most = most_each, most
        self._by_owner: Counter[str] = Counter()
        self.total = 0

    def of(self, owner: str) -> int:
        """How much ``owner`` has."""
        return self._by_owner[owner]

    def has_room(self, owner: str, more: int) -> bool:
        """Whether ``more`` for ``owner`` stays within both bounds; giving back always does."""
        return more <= 0 or (self._by_owner[owner] + more <= self._most_each and self.total + more <= self._most)

    def change(self, owner: str, by: int) -> bool:
        """Give ``owner`` so much more (or less: negative); False, and nothing changed, without room."""
        if not self.has_room(owner, by):
            return False
        self.total += by
        self._by_owner[owner] += by
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        return True


class Holding:
    """The bytes that one connection has of a shared bound. Its first ``free`` bytes are not counted."""

    __slots__ = ("_bound", "_free", "_owner", "counted")

    def __init__(self, bound: SharedBound, owner: str, free: int) -> None:
        self._bound, self._owner, self._free = bound, owner, free
        self.counted = 0

    def has_room(self, size: int) -> bool:
        """Whether it may have ``size`` bytes in all."""
        return self._bound.has_room(self._owner, max(0, size - self._free) - self.counted)

    def resize(self, size: int) -> bool:
        """It has ``size`` bytes in all now; False, and nothing changed, without room."""
        counted = max(0, size - self._free)
        if counted == self.counted:
            return True
        if not self._bound.change(self._owner, counted - self.counted):
            return False
        self.counted = counted
        return True

    def move(self, bound: SharedBound, owner: str) -> None:
        """Count it for another owner of another bound, if there is room."""
        if bound.change(owner, self.counted):
            self._bound.change(self._owner, -self.counted)
            self._bound, self._owner = bound, owner
