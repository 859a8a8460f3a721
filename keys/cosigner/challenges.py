"""What the co-signer has every authorisation name, so that none can be made in advance or kept for later.

An HSM has no clock, and signs whatever time it is shown: an authorisation that carried a time of signer A's choosing
could be dated ahead, and spent on that day. It carries a random value of the co-signer's own instead, which nobody
knows before it is issued. A value is handed out for 60 s and accepted for 120 s from its making; what named it is then
worth nothing. Values live in this process alone: after a restart every earlier authorisation is refused, so which of
them were used need not be on disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keys.cosigner.store import CosignerRefusalError
from keys.signing.cosigning.messages import RefusalCode

ISSUED_FOR: Final = 60.0
ACCEPTED_FOR: Final = 120.0
"""Seconds from a challenge's making."""
MAX_USED: Final = 500_000
"""Authorisations that are remembered of one challenge, some 60 MB: beyond it the co-signer is busy."""


@dataclass(slots=True)
class _Challenge:
    made: float
    value: bytes = field(default_factory=lambda: os.urandom(16))
    used: set[bytes] = field(default_factory=set)


class ChallengeIssuer:
    """Used from one event loop. ``clock`` gives seconds that never go back and also count while the machine sleeps."""

    def __init__(self, clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)) -> None:
        self.clock = clock
        self._challenges = [_Challenge(clock())]  # newest first, two at most

    def current(self) -> tuple[bytes, float]:
        """The challenge (16 bytes) to be named now, and for how many seconds it is the one to name."""
        now = self.clock()
        if now - self._challenges[0].made >= ISSUED_FOR:
            self._challenges = [_Challenge(now), self._challenges[0]]
        return self._challenges[0].value, self._challenges[0].made + ISSUED_FOR - now

    def use_up(self, challenge: bytes, digest: bytes) -> None:
        """Mark what named this challenge as used. Raises Refusal for a challenge that has passed, or a repetition."""
        now = self.clock()
        found = (c for c in self._challenges if c.value == challenge and now - c.made < ACCEPTED_FOR)
        if (known := next(found, None)) is None:
            raise CosignerRefusalError(RefusalCode.STALE_CHALLENGE)
        if digest in known.used:
            raise CosignerRefusalError(RefusalCode.REPLAYED)
        if len(known.used) >= MAX_USED:
            raise CosignerRefusalError(RefusalCode.BUSY)
        known.used.add(digest)
