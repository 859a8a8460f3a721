"""What connections to the built-in relay pay for what they make it do, in units of some 20 us of the event loop.

An address pays for all its connections. Strangers pay a second time, all together: fifty addresses must not be able
to take ten cores of one. A connection is a stranger's until the worker has answered it. So that a newcomer is served at
once whatever others do, each address has a little that is not paid for together: enough to connect and to pair.
Afterwards it is paid for by client key: an app may have many connections from many addresses.
"""

from __future__ import annotations

from collections.abc import Callable

from bunker.relays.limits import BuiltInLimits
from keycast.base.token_bucket import BucketMap, TokenBucket

UNIT_BYTES, UNIT_VALUES, UNIT_CANDIDATES = 2_048, 4, 8
"""How much of each takes one unit."""
SIGNATURE = 3
"""Units of a signature check, beside what its address pays: checks have a budget by address of their own (Intake)."""
_ADDRESSES = 10_000


class WorkAccount:
    """What one connection may still ask for."""

    __slots__ = ("_client", "_common", "_free", "_own")

    def __init__(self, own: TokenBucket, free: TokenBucket, common: TokenBucket) -> None:
        self._own, self._free, self._common = own, free, common
        self._client: TokenBucket | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is no stranger's."""
        return self._client is not None

    def become_known(self, client: TokenBucket) -> None:
        """It is a client's, which pays with ``client`` from now on."""
        self._client = client

    def may_have(self, cost: float) -> bool:
        """Whether something that costs about ``cost`` units may be begun: no earlier work is still owed for."""
        if not self._own.take(0.0):
            return False
        if self._client is not None:
            return self._client.take(0.0)
        if self._common.take(0.0):
            return True
        if not self._free.take(cost):
            return False
        self._free.give_back(cost)
        return True

    def charge(self, cost: float, signatures: float = 0.0) -> float:
        """Have it pay ``cost`` units, ``signatures`` more beside its address; returns seconds that it is to wait."""
        wait = self._own.charge(cost)
        if self._client is not None:
            return max(wait, self._client.charge(cost + signatures))
        if self._free.take(cost + signatures):
            return wait
        return max(wait, self._common.charge(cost + signatures))


class WorkBounds:
    """The accounts of all connections."""

    def __init__(self, limits: BuiltInLimits, clock: Callable[[], float]) -> None:
        self._own = BucketMap(limits.work_per_ip, 2 * limits.work_per_ip, _ADDRESSES, clock)
        self._free = BucketMap(limits.work_per_stranger, 4 * limits.work_per_stranger, _ADDRESSES, clock)
        rate = (1 + SIGNATURE) * limits.events_per_second
        self._clients = BucketMap(rate, 2 * rate, _ADDRESSES, clock)
        self._common = TokenBucket(limits.work_of_strangers, limits.work_of_strangers, clock)

    def of(self, address: str) -> WorkAccount:
        """A new connection's account."""
        return WorkAccount(self._own.of(address), self._free.of(address), self._common)

    def of_client(self, public_key: str) -> TokenBucket:
        """What a client pays with on all of its connections: as many events a second as one connection may send."""
        return self._clients.of(public_key)
