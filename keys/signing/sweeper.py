"""The one thread of a process that ends leases: it runs only while a cache holds something."""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Final, Protocol

MAX_INTERVAL: Final = 0.5


class SweptCache(Protocol):
    """A cache that the sweeper looks after."""

    def __len__(self) -> int: ...
    def __hash__(self) -> int: ...
    def sweep(self) -> None: ...
    def before_fork(self) -> None: ...
    def after_fork(self, *, in_child: bool) -> None: ...


def sweep_interval(lease: float) -> float:
    """Seconds between sweeps that a lease of this many seconds needs."""
    return min(MAX_INTERVAL, lease / 4)


class Sweeper:
    """Sweeps every watched cache at the shortest interval that any of them asked for."""

    def __init__(self) -> None:
        # Weak, so that a cache nobody uses any more goes with its owner.
        self._caches: weakref.WeakSet[SweptCache] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._interval = MAX_INTERVAL
        self._forking: list[SweptCache] = []

    def watch(self, cache: SweptCache) -> None:
        """Sweep this cache too, for as long as it lives."""
        with self._lock:
            self._caches.add(cache)

    def wake(self, interval: float) -> None:
        """Make sure that the thread runs; call it after putting something into a cache."""
        with self._lock:
            self._interval = min(interval, self._interval) if self._thread else interval
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-sweeper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            for cache in self._watched():
                cache.sweep()
            with self._lock:
                # Under the lock that ``wake`` takes: what was just put into a cache is seen here, or starts another
                # thread.
                if not any(len(cache) for cache in list(self._caches)):
                    self._thread = None
                    return

    def _watched(self) -> list[SweptCache]:
        with self._lock:
            return list(self._caches)

    def before_fork(self) -> None:
        """See LeasedCache.before_fork."""
        self._forking = self._watched()
        for cache in self._forking:
            cache.before_fork()
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """See LeasedCache.after_fork; no thread survives into a child."""
        if in_child:
            self._lock, self._thread = threading.Lock(), None
        else:
            self._lock.release()
        for cache in self._forking:
            cache.after_fork(in_child=in_child)
        self._forking = []


SWEEPER: Final = Sweeper()
os.register_at_fork(
    before=SWEEPER.before_fork,
    after_in_parent=lambda: SWEEPER.after_fork(in_child=False),
    after_in_child=lambda: SWEEPER.after_fork(in_child=True),
)
