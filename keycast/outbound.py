"""Which relay URLs may be connected to at all, judged by the URL alone (threats.md, section 5).

What a name resolves to is judged where the connection is made (bunker.relays.guard), each time anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from django.conf import settings

from keycast.nostr.uris import UriError, normalize_relay_url

_V4_REFUSED = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
)
_V6_UNICAST = IPv6Network("2000::/3")
_V6_REFUSED = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16"))
_LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "onion", "arpa", "svc", "test")


class RelayRefused(Exception):
    """This relay cannot be used. One text for every cause: the caller learns nothing about our network."""

    def __init__(self) -> None:
        super().__init__("This relay cannot be used.")


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What the operator allows beyond ``wss://`` to public addresses at ``ports``.

    ``private_hosts`` are hosts (or ``host:port``) that may be private, in clear text and at any port;
    ``operator_urls`` are relays that the operator configured: any port, clear text, still only public addresses.
    """

    ports: frozenset[int] = frozenset({443})
    private_hosts: frozenset[str] = frozenset()
    operator_urls: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls) -> GuardPolicy:
        """Read ``RELAY_ALLOWED_PORTS``, ``RELAY_ALLOWED_PRIVATE_HOSTS`` and ``OUTBOUND_RELAYS``."""
        return cls(
            ports=frozenset({443, *map(int, settings.RELAY_ALLOWED_PORTS)}),
            private_hosts=frozenset(host.strip().lower() for host in settings.RELAY_ALLOWED_PRIVATE_HOSTS),
            operator_urls=frozenset(normalize_relay_url(url) for url in settings.OUTBOUND_RELAYS),
        )


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """A relay URL that passed the syntax rules, taken apart. ``is_private_allowed``: the operator named its host."""

    url: str
    host: str
    port: int
    is_tls: bool
    is_private_allowed: bool = field(default=False)


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


def check_url(url: str, policy: GuardPolicy) -> RelayAddress:
    """Apply every rule that needs no look-up. Raises RelayRefused."""
    try:
        normal = normalize_relay_url(url)
    except UriError:
        raise RelayRefused from None
    parts = urlsplit(normal)
    host, is_tls = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if is_tls else 80)
    is_private_allowed = host in policy.private_hosts or f"{host}:{port}" in policy.private_hosts
    if not is_private_allowed:
        is_operators = normal in policy.operator_urls
        if not is_operators and (not is_tls or port not in policy.ports):
            raise RelayRefused
        if _is_local_name(host):
            raise RelayRefused
    return RelayAddress(normal, host, port, is_tls, is_private_allowed)


def _is_local_name(host: str) -> bool:
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
