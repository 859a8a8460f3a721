"""A circuit breaker: a service that keeps failing is left alone for a while, and looked at again one call at a time."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from keycast.base.service_status import status_of

logger = logging.getLogger(__name__)

FAILURES: Final = 5
FIRST_REST: Final = 1.0
# A service that is back is tried again within this and a fifth more, however long it was away.
LONGEST_REST: Final = 15.0
# Shorter than the five seconds in which every request gets an answer.
PROBE_TIMEOUT: Final = 3.0


class Breaker:
    """Opens after FAILURES failures in a row, rests, lets one probe through, and closes with the first success.

    Rests double with every failed probe, from FIRST_REST to LONGEST_REST seconds, and vary by a fifth so that
    processes do not probe together. Thread-safe; never waits.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rest = 0.0
        self._next_probe_at = 0.0
        self._is_probing = False
        self._service_status = status_of(name, lambda: self._rest > 0)

    @property
    def is_open(self) -> bool:
        """Whether calls are being refused, or tried one at a time."""
        return self._rest > 0

    def admits(self) -> bool:
        """Whether a call may be made now. While open, True is said to one probe; its outcome must be reported."""
        with self._lock:
            if not self._rest:
                return True
            now = self._clock()
            if now < self._next_probe_at:
                return False
            # A probe that never reports (its task was cancelled) blocks the next one no longer than this.
            self._next_probe_at = now + PROBE_TIMEOUT
            self._is_probing = True
            return True

    def succeeded(self) -> None:
        """The service answered."""
        self._service_status.good()
        # Without the lock, for this is every call of a service that is well. A stale look lets one failure too many be
        # counted, no more.
        if not self._failures and not self._rest:
            return
        with self._lock:
            was_open = self._rest > 0
            self._failures, self._rest, self._is_probing = 0, 0.0, False
        if was_open:
            logger.warning("service answers again", extra={"service": self._name})

    def failed(self) -> None:
        """The service did not answer, or answered nonsense."""
        self._service_status.bad()
        with self._lock:
            self._failures += 1
            # Many calls may have been under way when it opened; each of them would otherwise double the rest.
            if self._rest and not self._is_probing:
                return  # a call from before the breaker opened
            if not self._rest and self._failures < FAILURES:
                return
            was_closed = not self._rest
            self._rest = min(max(self._rest * 2, FIRST_REST), LONGEST_REST)
            self._next_probe_at = self._clock() + self._rest * random.uniform(0.8, 1.2)  # noqa: S311
            self._is_probing = False
        if was_closed:
            logger.error("service left alone after repeated failures", extra={"service": self._name})
