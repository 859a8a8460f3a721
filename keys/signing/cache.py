"""Opened secrets kept for a short lease, then wiped, whether or not anybody asks again.

Wiping while another thread uses the secret is safe: the primitives refuse a wiped one (SecretWiped), and the caller
opens it again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from keys.signing.sweeper import SWEEPER, sweep_interval


class Wipeable(Protocol):
    """Something with a secret in it."""

    def wipe(self) -> None: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Wipeable)


class LeasedCache(Generic[K, V]):
    """A bounded map whose values are wiped when they leave it, at most ``lease()`` seconds after they came.

    ``lease`` is asked at every insertion; 0 keeps nothing. The lease runs from the opening and is never renewed by
    use. When full, the oldest entry goes. ``clock`` is monotonic, in seconds. Thread-safe.
    """

    def __init__(self, lease: Callable[[], float], max_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._max_size = max_size
        self._clock = clock
        self._lock = threading.RLock()
        # Ordered: finding the first entry of a plain dictionary takes the longer the more were dropped before it.
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._latest = 0.0
        self._is_ordered = True
        self._epoch = 0
        self._forgotten: dict[K, int] = {}
        SWEEPER.watch(self)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._lease() > 0

    def get(self, key: K) -> V | None:
        """The open value, or None when it is not here or its lease is over."""
        # Without the lock, for every signature asks here. What is wiped in this moment is refused by the primitives.
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._clock() < entry[0] else None

    def ticket(self, key: K) -> tuple[int, int]:
        """Take one before opening a value: it tells ``put`` whether the value was forgotten meanwhile."""
        return self._epoch, self._forgotten.get(key, 0)

    def put(self, key: K, value: V, ticket: tuple[int, int]) -> bool:
        """Keep ``value`` for the lease; False when it is not kept, and the caller stays its only owner."""
        lease = self._lease()
        if lease <= 0:
            return False
        # Sweeps come once in an interval, so the deadline is one interval early: the lease is an upper bound.
        deadline = self._clock() + lease - sweep_interval(lease)
        with self._lock:
            if ticket != self.ticket(key):
                return False
            self._drop(key)
            while len(self._entries) >= self._max_size:
                self._drop(next(iter(self._entries)))
            self._entries[key] = (deadline, value)
            self._is_ordered = self._is_ordered and deadline >= self._latest
            self._latest = deadline
        SWEEPER.wake(sweep_interval(lease))
        return True

    def forget(self, key: K) -> None:
        """Wipe one value now; one that is being opened at this moment is not kept either."""
        with self._lock:
            if len(self._forgotten) >= self._max_size:
                # Bounded: rather than remember every id for ever, all tickets that are out become worthless.
                self._forgotten.clear()
                self._epoch += 1
            self._forgotten[key] = self._forgotten.get(key, 0) + 1
            self._drop(key)

    def forget_all(self) -> None:
        """Wipe every value now; those being opened at this moment are not kept either."""
        with self._lock:
            self._epoch += 1
            self._forgotten.clear()
            for key in list(self._entries):
                self._drop(key)
            self._is_ordered, self._latest = True, 0.0

    def sweep(self) -> None:
        """Wipe every value whose lease is over."""
        now = self._clock()
        with self._lock:
            for key in self._expired(now):
                self._drop(key)
            if not self._entries:
                self._is_ordered, self._latest = True, 0.0

    def before_fork(self) -> None:
        """Wipe everything and let nothing in until the fork is over: a child inherits no open secret."""
        self._lock.acquire()
        self.forget_all()

    def after_fork(self, *, in_child: bool) -> None:
        """Open again; the child gets a lock of its own."""
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()

    def _expired(self, now: float) -> list[K]:
        # As long as all leases are of one length they end in the order in which they came, and a sweep stops at the
        # first that goes on. A lease that was shortened meanwhile ends that.
        if not self._is_ordered:
            return [key for key, (deadline, _) in self._entries.items() if deadline <= now]
        expired = []
        for key, (deadline, _) in self._entries.items():
            if deadline > now:
                break
            expired.append(key)
        return expired

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry[1].wipe()
