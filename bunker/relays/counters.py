"""Numbers that relays keep: what was taken and what was dropped, by relay and reason. Never content."""

from __future__ import annotations

from collections import Counter

from bunker.relays.interfaces import DropReason


class Counters:
    """Counts by (relay, reason). Relay names come from configuration, so the number of rows is bounded."""

    __slots__ = ("accepted", "drops", "misc")

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.drops: Counter[tuple[str, DropReason]] = Counter()
        self.misc: Counter[str] = Counter()

    def drops_of(self, relay: str) -> dict[str, int]:
        """Return reason -> count for one relay."""
        return {reason.value: count for (name, reason), count in self.drops.items() if name == relay}

    def forget_relay(self, relay: str) -> None:
        """Remove the rows of a relay that is no longer wanted."""
        self.accepted.pop(relay, None)
        for key in [key for key in self.drops if key[0] == relay]:
            del self.drops[key]
