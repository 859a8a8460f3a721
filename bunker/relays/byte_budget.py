"""How many bytes strangers may have us keep: for one address and for all together."""

from __future__ import annotations

from collections import Counter


class ByteBudget:
    """Counts bytes by owner (an IP address, a tenant) against a bound for each and a bound for all.

    What is counted is kept until ``change`` gives it back: owners that have nothing cost nothing.
    """

    __slots__ = ("_by_owner", "_most", "_most_each", "total")

    def __init__(self, most_each: int, most: int) -> None:
        self._most_each, self._most = most_each, most
        self._by_owner: Counter[str] = Counter()
        self.total = 0

    def of(self, owner: str) -> int:
        """Bytes counted for ``owner``."""
        return self._by_owner[owner]

    def has_room(self, owner: str, more: int) -> bool:
        """Whether ``more`` bytes for ``owner`` stay within both bounds; giving back always does."""
        return more <= 0 or (self._by_owner[owner] + more <= self._most_each and self.total + more <= self._most)

    def change(self, owner: str, by: int) -> bool:
        """Count ``by`` bytes more (or fewer, negative) for ``owner``; False, and nothing counted, without room."""
        if not self.has_room(owner, by):
            return False
        self.total += by
        self._by_owner[owner] += by
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        return True
