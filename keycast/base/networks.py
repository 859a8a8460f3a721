"""Whose an address is, and how much each network holds at once of what is bounded."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Final

OWN_PREFIX: Final = 64
"""Bits of IPv6 that one household or server has at least (RFC 6177): who has one address of it has all of them."""
SITE_PREFIX: Final = 48
"""Bits that one site may be given."""
SITE_FACTOR: Final = 10
LONGEST: Final = 64
"""Characters kept of what is no address."""


def networks_of(address: str) -> tuple[str, ...]:
    """The network that an address counts for, and for IPv6 the site around it: ``("192.0.2.1",)``,
    ``("2001:db8:0:1::", "2001:db8::/48")``.

    An IPv4 address written as IPv6 counts as itself, and a port behind an address, as some proxies write it, is
    dropped. What is no address at all counts as it stands.
    """
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return (address[:LONGEST],)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            site = ipaddress.ip_network((parsed, SITE_PREFIX), strict=False)
            own = ipaddress.ip_network((parsed, OWN_PREFIX), strict=False)
            return (str(own.network_address), str(site))
        parsed = parsed.ipv4_mapped
    return (str(parsed),)


def network_of(address: str) -> str:
    """The IPv4 address, or the /64 of an IPv6 address, under which an address is counted."""
    return networks_of(address)[0]


class NetworkShares:
    """How much each network holds: at most ``most``, and ten times as much an IPv6 site (/48). Bounded by its users."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, address: str, amount: int = 1) -> bool:
        """Take ``amount`` for the network of ``address``; or nothing, and False, where that is beyond its share."""
        found = networks_of(address)
        for index, name in enumerate(found):
            if self._held[name] + amount > self.most * (SITE_FACTOR if index else 1):
                self._tidy(found)
                return False
        for name in found:
            self._held[name] += amount
        return True

    def give_back(self, address: str, amount: int = 1) -> None:
        """Return what was taken."""
        found = networks_of(address)
        for name in found:
            self._held[name] -= amount
        self._tidy(found)

    def _tidy(self, names: tuple[str, ...]) -> None:
        for name in names:
            if self._held[name] <= 0:
                del self._held[name]
