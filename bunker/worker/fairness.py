"""The bounded queue before the engine: tenants take turns, and so do the clients of each (threats F1, F3, F5)."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by tenant and client, and how many of each client's are under way.

    ``take`` serves tenants in turn, one item each, and the clients of a tenant likewise. A client with ``at_once``
    items under way has no turn until one of them ended (``leave``): its others wait in their order, nobody for them.

    A noisy client fills its own share: no client may have more than ``per_client`` items waiting, no tenant more than
    ``per_tenant``, all together ``capacity``. The same in bytes: a sixth of ``most_bytes``, half of it, all of it.

    Every call takes the same time, however many wait. What is remembered of a client is gone when nothing of it waits
    or is under way.
    """

    __slots__ = (
        "_clients",
        "_tenants",
        "_turns",
        "at_once",
        "bytes",
        "capacity",
        "most_bytes",
        "per_client",
        "per_tenant",
        "size",
    )

    def __init__(
        self, capacity: int, per_tenant: int, per_client: int, at_once: int, most_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self.capacity = capacity
        self.most_bytes = most_bytes
        self.bytes = 0
        self.per_tenant = per_tenant
        self.per_client = per_client
        self.at_once = at_once
        self.size = 0
        self._clients: dict[tuple[str, str], ClientShare[T]] = {}
        self._tenants: dict[str, _TenantQueue[T]] = {}
        # Only tenants with a client that may go: whoever is at its bound is nowhere in here, so nobody is skipped.
        self._turns: deque[_TenantQueue[T]] = deque()

    def __len__(self) -> int:
        return self.size

    @property
    def is_ready(self) -> bool:
        """True while ``take`` has something to give: an item waits whose client is below its bound."""
        return bool(self._turns)

    def enter(self, tenant: str, client: str) -> ClientShare[T] | None:
        """Let an item go at once, without a place in the queue. None when it has to wait: offer it then."""
        # What comes now must not overtake what may go already; another item of this client's would be among that.
        if self._turns:
            return None
        key = (tenant, client)
        share = self._clients.get(key)
        if share is None:
            share = self._clients[key] = ClientShare(key)
        elif share.under_way >= self.at_once:
            return None
        share.under_way += 1
        return share

    def offer(self, tenant: str, client: str, item: T, size: int = 0) -> bool:
        """Queue ``item``, which holds ``size`` bytes; False when it does not fit."""
        if self.size >= self.capacity or self.bytes + size > self.most_bytes:
            return False
        lane = self._tenants.get(tenant) or _TenantQueue(tenant)
        # Refused, not made to wait: an answer that says busy is worth more to a client than silence until it gives up.
        if lane.size >= self.per_tenant or lane.bytes + size > self.most_bytes // 2:
            return False
        key = (tenant, client)
        share = self._clients.get(key) or ClientShare(key)
        if len(share.waiting) >= self.per_client or share.bytes + size > self.most_bytes // 6:
            return False
        share.waiting.append((item, size))
        share.bytes += size
        lane.size += 1
        lane.bytes += size
        self.size += 1
        self.bytes += size
        self._tenants[tenant] = lane
        self._clients[key] = share
        if len(share.waiting) == 1 and share.under_way < self.at_once:
            self._line_up(lane, share)
        return True

    def take(self) -> tuple[T, ClientShare[T]]:
        """The next item in turn, under way from now on, and whose it is. Raises IndexError when none may go."""
        lane = self._turns.popleft()
        share = lane.turns.popleft()
        item, size = share.waiting.popleft()
        share.bytes -= size
        share.under_way += 1
        lane.size -= 1
        lane.bytes -= size
        self.size -= 1
        self.bytes -= size
        if share.waiting and share.under_way < self.at_once:
            lane.turns.append(share)
        if lane.turns:
            self._turns.append(lane)
        if not lane.size:
            del self._tenants[lane.tenant]
        return item, share

    def leave(self, share: ClientShare[T]) -> None:
        """Note that an item of this client's has ended; once for each that entered or was taken."""
        share.under_way -= 1
        if share.waiting:
            if share.under_way == self.at_once - 1:
                # Behind those who have a turn, as after any item that was taken: whoever asks as much as it may must
                # not come before whoever asks once.
                self._line_up(self._tenants[share.key[0]], share)
        elif not share.under_way:
            del self._clients[share.key]

    def _line_up(self, lane: _TenantQueue[T], share: ClientShare[T]) -> None:
        if not lane.turns:
            self._turns.append(lane)
        lane.turns.append(share)


class ClientShare(Generic[T]):
    """What one client of a tenant (``key``: both) has in the queue, and how much of it is under way."""

    __slots__ = ("bytes", "key", "under_way", "waiting")

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.waiting: deque[tuple[T, int]] = deque()
        self.bytes = 0
        self.under_way = 0


class _TenantQueue(Generic[T]):
    """What waits of one tenant; ``turns`` are its clients that may go."""

    __slots__ = ("bytes", "size", "tenant", "turns")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.turns: deque[ClientShare[T]] = deque()
        self.size = 0
        self.bytes = 0
