"""The bounded queue before the engine: tenants take turns, and so do the clients of each (threats F1, F3, F5)."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by tenant and client. ``take`` serves tenants in turn, one item each; ``offer`` refuses above the bounds.

    A noisy client fills its own share: no client may hold more than ``per_client`` places, no tenant more than
    ``per_tenant``, all together ``capacity``.
    """

    __slots__ = ("_tenants", "_turns", "capacity", "per_client", "per_tenant", "size")

    def __init__(self, capacity: int, per_tenant: int, per_client: int) -> None:
        self.capacity = capacity
        self.per_tenant = per_tenant
        self.per_client = per_client
        self.size = 0
        self._tenants: dict[object, _TenantQueue[T]] = {}
        self._turns: deque[object] = deque()

    def __len__(self) -> int:
        return self.size

    def offer(self, tenant: object, client: object, item: T) -> bool:
        """Queue ``item``; False when it does not fit."""
        if self.size >= self.capacity:
            return False
        lane = self._tenants.get(tenant)
        if lane is None:
            lane = self._tenants[tenant] = _TenantQueue()
            self._turns.append(tenant)
        # Refused, not made to wait: an answer that says busy is worth more to a client than silence until it gives up.
        if lane.size >= self.per_tenant or not lane.put(client, item, self.per_client):
            return False
        self.size += 1
        return True

    def take(self) -> T:
        """The next item in turn. Raises IndexError when there is none."""
        tenant = self._turns.popleft()
        lane = self._tenants[tenant]
        item = lane.get()
        self.size -= 1
        if lane.size:
            self._turns.append(tenant)
        else:
            del self._tenants[tenant]
        return item


class _TenantQueue(Generic[T]):
    __slots__ = ("clients", "size", "turns")

    def __init__(self) -> None:
        self.clients: dict[object, deque[T]] = {}
        self.turns: deque[object] = deque()
        self.size = 0

    def put(self, client: object, item: T, limit: int) -> bool:
        waiting = self.clients.get(client)
        if waiting is None:
            waiting = self.clients[client] = deque()
            self.turns.append(client)
        if len(waiting) >= limit:
            return False
        waiting.append(item)
        self.size += 1
        return True

    def get(self) -> T:
        client = self.turns.popleft()
        waiting = self.clients[client]
        item = waiting.popleft()
        self.size -= 1
        if waiting:
            self.turns.append(client)
        else:
            del self.clients[client]
        return item
