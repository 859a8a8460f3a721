"""Which subscriptions serve a set of keys on one relay: chunks by ``#p``, or one for the whole kind when they are many.

Relays differ in how many subscriptions, filters and values they take; the bounds here fit the common ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bunker.relays.event_checks import KIND

WIDE = "all"


class SubscriptionPlan:
    """Keeps keys in their chunks across changes, so that a new key touches one subscription only."""

    def __init__(self, keys_per_filter: int, subscriptions: int) -> None:
        self._size = keys_per_filter
        self._most = subscriptions
        self._chunks: list[set[str]] = []
        self.is_wide = False
        self._may_be_wide = True

    @property
    def names(self) -> list[str]:
        """The subscription ids in use."""
        return [WIDE] if self.is_wide else [f"k{index}" for index, chunk in enumerate(self._chunks) if chunk]

    def update(self, keys: Collection[str]) -> tuple[list[str], list[str]]:
        """Serve exactly ``keys``. Returns (ids to open or replace, ids to close)."""
        before = set(self.names)
        was_wide, self.is_wide = self.is_wide, self._may_be_wide and len(keys) > self._size * self._most
        if self.is_wide:
            self._chunks = []
            return ([] if was_wide else [WIDE]), sorted(before - {WIDE})
        changed = self._assign(set(keys))
        after = set(self.names)
        return sorted(changed & after | (after - before)), sorted(before - after)

    def refuse_wide(self, keys: Collection[str]) -> tuple[list[str], list[str]]:
        """Do without the kind-wide subscription, which the relay refused: larger chunks instead."""
        self._may_be_wide = False
        self._size = max(self._size, -(-len(keys) // self._most))
        return self.update(keys)

    def filter(self, name: str, since: int) -> dict[str, object]:
        """Build the NIP-01 filter of subscription ``name``."""
        wanted: dict[str, object] = {"kinds": [KIND], "since": since}
        if name != WIDE:
            wanted["#p"] = sorted(self._chunks[int(name[1:])])
        return wanted

    def keys_of(self, name: str) -> Iterable[str]:
        """Return the keys that ``name`` waits for; none for the kind-wide one, which waits for all."""
        return () if name == WIDE else self._chunks[int(name[1:])]

    def _assign(self, keys: set[str]) -> set[str]:
        changed: set[str] = set()
        # Those that leave go first: a key that comes then finds room in a chunk that is asked for again anyway.
        for index, chunk in enumerate(self._chunks):
            if gone := chunk - keys:
                chunk.difference_update(gone)
                changed.add(f"k{index}")
        for key in sorted(keys.difference(*self._chunks)):
            changed.add(self._place(key))
        return changed

    def _place(self, key: str) -> str:
        for index, chunk in enumerate(self._chunks):
            if len(chunk) < self._size:
                chunk.add(key)
                return f"k{index}"
        self._chunks.append({key})
        return f"k{len(self._chunks) - 1}"
