"""Which addresses of a network may be connected to when a user or an app names the host (threats.md, section 5).

Public ones alone. Whoever connects looks a name up once, has every answer judged here, and connects to the address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_V4_REFUSED = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
)
_V6_UNICAST = IPv6Network("2000::/3")
_V6_REFUSED = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16"))
_LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "onion", "arpa", "svc", "test")


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public internet's own: global unicast, and no IPv4 wrapped in IPv6."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not _is_in(address, _V4_REFUSED)
    return (
        address.scope_id is None and address in _V6_UNICAST and address.is_global and not _is_in(address, _V6_REFUSED)
    )


def _is_in(address: IPv4Address | IPv6Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)


def is_local_name(host: str) -> bool:
    """Whether a host, by its name or address alone, is on a private network."""
    if is_literal(host):
        return not is_public(host)
    labels = host.split(".")
    return len(labels) == 1 or labels[-1] in _LOCAL_NAMES


def is_literal(host: str) -> bool:
    """Whether a host is an address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
