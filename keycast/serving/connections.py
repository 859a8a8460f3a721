"""The connections that are open: how many there may be, from whom, and which have been open for too long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from keycast.base.metrics import CONNECTIONS_ENDED
from keycast.base.networks import NetworkShares
from keycast.serving.limits import ConnectionLimits


class OpenConnection(Protocol):
    """What the register asks of a connection."""

    def overdue(self, now: float) -> str | None:
        """Why it is to end now (a label of the metrics), or None."""

    def end(self, reason: str) -> None:
        """End it, for that reason."""


class ConnectionRegister:
    """Every open connection of one server, in one event loop.

    Where no proxy is in front, connections are counted by the peer's network too. Behind proxies every peer is a
    proxy, and keycast.serving.guard counts by the address that they name.
    """

    def __init__(self, limits: ConnectionLimits, *, counts_peers: bool, clock: Callable[[], float] = monotonic) -> None:
        self.limits = limits
        self.clock = clock
        self._shares = NetworkShares(limits.connections_per_network) if counts_peers else None
        self._open: dict[OpenConnection, str] = {}
        self._waiting: OrderedDict[OpenConnection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: OpenConnection, address: str) -> bool:
        """Note a connection that was made; False when there is no room: then the caller ends it."""
        if len(self._open) >= self.limits.connections and not self._make_room():
            CONNECTIONS_ENDED.labels("full").inc()
            return False
        if self._shares is not None and not self._shares.take(address):
            CONNECTIONS_ENDED.labels("network").inc()
            return False
        self._open[connection] = address
        return True

    def remove(self, connection: OpenConnection) -> None:
        """Forget a connection that is lost; one that is not known, or not any more, is no error."""
        self._waiting.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None and self._shares is not None:
            self._shares.give_back(address)

    def replace(self, before: OpenConnection, after: OpenConnection) -> None:
        """The same connection goes on as another object (HTTP that becomes a websocket)."""
        self._waiting.pop(before, None)
        if before in self._open:
            self._open[after] = self._open.pop(before)

    def waits(self, connection: OpenConnection) -> None:
        """A connection has no request yet, or none any more: the one for which this is longest has to make room."""
        if connection in self._open:
            self._waiting[connection] = None
            self._waiting.move_to_end(connection)

    def works(self, connection: OpenConnection) -> None:
        """A connection has a request that is being answered."""
        self._waiting.pop(connection, None)

    def sweep(self) -> None:
        """End what has been open for too long; asked about once a second."""
        now = self.clock()
        for connection in list(self._open):
            reason = connection.overdue(now)
            if reason is not None:
                CONNECTIONS_ENDED.labels(reason).inc()
                connection.end(reason)

    def _make_room(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        CONNECTIONS_ENDED.labels("full").inc()
        self.remove(oldest)  # now: connection_lost comes only with the next turn of the loop
        oldest.end("full")
        return True
