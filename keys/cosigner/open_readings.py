"""The reading grants that are open, in this process's memory alone: a restart of the co-signer ends them all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keycast.audit.tags import AuditOutcome
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.errors import CosignerRefusalError
from keys.signing.cosigning.messages import ReadingEntry, RefusalCode

MAX_OPEN: Final = 4096
MAX_OF_ONE_KEY: Final = 64
PEERS_REMEMBERED: Final = 500_000
"""Of all readings together, some 50 MB; what is beyond is used and counted, and not told apart."""


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """The widest reading grant that is accepted: for how many seconds, and uses. 0: none."""

    seconds: int = 900
    uses: int = 2000


@dataclass(slots=True, eq=False)
class OpenReading:
    """One key's, of one app. ``ends`` is by the co-signer's clock, ``opened_at`` Unix time in ms for people."""

    tenant: bytes
    key: bytes
    client: bytes
    seconds: int
    uses: int
    ends: float
    opened_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    used: int = 0
    under_way: int = 0
    is_recorded: bool = False
    """Whether its row is on disk; before, nothing is contributed."""
    peers: set[bytes] = field(default_factory=set)

    def opened_row(self, by: str) -> CosignerAuditEntry:
        """The row that says what was granted."""
        data = {"app": self.client.hex(), "seconds": self.seconds, "uses": self.uses}
        return CosignerAuditEntry(CosignerAuditTag.READING_OPENED, AuditOutcome.OK, by, self.key.hex(), data=data)

    def ended_row(self, by: str, why: str) -> CosignerAuditEntry:
        """The row that says how much of it was used, with how many different peers."""
        data = {"app": self.client.hex(), "reason": why, "used": self.used, "peers": len(self.peers)}
        return CosignerAuditEntry(CosignerAuditTag.READING_ENDED, AuditOutcome.OK, by, self.key.hex(), data=data)

    def entry(self) -> ReadingEntry:
        """For the owner."""
        until = self.opened_at + 1000 * self.seconds
        return ReadingEntry(self.client, self.opened_at, until, self.uses, self.used, len(self.peers))


class OpenReadings:
    """Used from one event loop. ``clock`` gives seconds that never go back and count while the machine sleeps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self._open: dict[bytes, dict[bytes, OpenReading]] = {}
        self._held: dict[tuple[bytes, bytes], float] = {}
        self._count = self._remembered = 0

    def add(self, reading: OpenReading) -> None:
        """Have it open; there is none of this key and app. Raises Refusal where there are too many."""
        of_key = self._open.get(reading.key, {})
        if self._count >= MAX_OPEN or len(of_key) >= MAX_OF_ONE_KEY:
            raise CosignerRefusalError(RefusalCode.BUSY)
        self._open.setdefault(reading.key, {})[reading.client] = reading
        self._count += 1

    def find(self, key: bytes, client: bytes) -> OpenReading | None:
        """The one of this key and app, also when its time is up."""
        return self._open.get(key, {}).get(client)

    def of_key(self, key: bytes) -> list[OpenReading]:
        """Those of one key whose time is not up."""
        return [found for found in self._open.get(key, {}).values() if not self.is_over(found)]

    def all_where(self, holds: Callable[[OpenReading], bool]) -> list[OpenReading]:
        """Every one of which that holds."""
        return [found for of_key in self._open.values() for found in of_key.values() if holds(found)]

    def hold(self, reading: OpenReading) -> None:
        """Have this app get no other one before this one's time would have been up."""
        if len(self._held) >= MAX_OPEN:
            now = self.now()
            self._held = {place: until for place, until in self._held.items() if until > now}
        if len(self._held) >= MAX_OPEN:
            del self._held[next(iter(self._held))]
        self._held[reading.key, reading.client] = reading.ends

    def is_held(self, key: bytes, client: bytes) -> bool:
        """Whether its last one was ended before its time, which is not up yet."""
        until = self._held.get((key, client))
        if until is not None and self.now() >= until:
            del self._held[key, client]
        return (key, client) in self._held

    def is_over(self, reading: OpenReading) -> bool:
        """Whether its time is up."""
        return self.now() >= reading.ends

    def remember(self, reading: OpenReading, peers: list[bytes]) -> None:
        """Tell these peers apart from others, while there is room."""
        for peer in peers:
            if peer not in reading.peers and self._remembered < PEERS_REMEMBERED:
                reading.peers.add(peer)
                self._remembered += 1

    def remove(self, reading: OpenReading) -> bool:
        """End it; whether it was still open. What is under way is not answered any more."""
        of_key = self._open.get(reading.key, {})
        if of_key.get(reading.client) is not reading:
            return False
        del of_key[reading.client]
        if not of_key:
            del self._open[reading.key]
        self._count -= 1
        self._remembered -= len(reading.peers)
        return True

    def remove_all_of(self, key: bytes) -> list[OpenReading]:
        """End every one of a key; those that were open."""
        return [found for found in list(self._open.get(key, {}).values()) if self.remove(found)]
