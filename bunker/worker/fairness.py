"""The bounded queue before the engine: tenants take turns, and so do the clients of each (threats F1, F3, F5)."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by tenant and client. ``take`` serves tenants in turn, one item each; ``offer`` refuses above the bounds.

    A noisy client fills its own share: no client may hold more than ``per_client`` places, no tenant more than
    ``per_tenant``, all together ``capacity``. The same in bytes: an eighth of ``most_bytes``, half of it, all of it.
    """

    __slots__ = ("_tenants", "_turns", "bytes", "capacity", "most_bytes", "per_client", "per_tenant", "size")

    def __init__(self, capacity: int, per_tenant: int, per_client: int, most_bytes: int = 64 * 1024 * 1024) -> None:
        self.capacity = capacity
        self.most_bytes = most_bytes
        self.bytes = 0
        self.per_tenant = per_tenant
        self.per_client = per_client
        self.size = 0
        self._tenants: dict[object, _TenantQueue[T]] = {}
        self._turns: deque[object] = deque()

    def __len__(self) -> int:
        return self.size

    def offer(self, tenant: object, client: object, item: T, size: int = 0) -> bool:
        """Queue ``item``, which holds ``size`` bytes; False when it does not fit."""
        if self.size >= self.capacity or self.bytes + size > self.most_bytes:
            return False
        lane = self._tenants.get(tenant) or _TenantQueue()
        # Refused, not made to wait: an answer that says busy is worth more to a client than silence until it gives up.
        if lane.size >= self.per_tenant or lane.bytes + size > self.most_bytes // 2:
            return False
        if not lane.put(client, item, size, self.per_client, self.most_bytes // 8):
            return False
        if lane.size == 1:
            self._tenants[tenant] = lane
            self._turns.append(tenant)
        self.size += 1
        self.bytes += size
        return True

    def take(self) -> T:
        """The next item in turn. Raises IndexError when there is none."""
        tenant = self._turns.popleft()
        lane = self._tenants[tenant]
        item, size = lane.get()
        self.size -= 1
        self.bytes -= size
        if lane.size:
            self._turns.append(tenant)
        else:
            del self._tenants[tenant]
        return item


class _TenantQueue(Generic[T]):
    __slots__ = ("bytes", "clients", "size", "turns")

    def __init__(self) -> None:
        self.clients: dict[object, _ClientQueue[T]] = {}
        self.turns: deque[object] = deque()
        self.size = 0
        self.bytes = 0

    def put(self, client: object, item: T, size: int, most: int, most_bytes: int) -> bool:
        waiting = self.clients.get(client) or _ClientQueue()
        if len(waiting.items) >= most or waiting.bytes + size > most_bytes:
            return False
        if not waiting.items:
            self.clients[client] = waiting
            self.turns.append(client)
        waiting.items.append((item, size))
        waiting.bytes += size
        self.size += 1
        self.bytes += size
        return True

    def get(self) -> tuple[T, int]:
        client = self.turns.popleft()
        waiting = self.clients[client]
        item, size = waiting.items.popleft()
        waiting.bytes -= size
        self.size -= 1
        self.bytes -= size
        if waiting.items:
            self.turns.append(client)
        else:
            del self.clients[client]
        return item, size


class _ClientQueue(Generic[T]):
    __slots__ = ("bytes", "items")

    def __init__(self) -> None:
        self.items: deque[tuple[T, int]] = deque()
        self.bytes = 0
