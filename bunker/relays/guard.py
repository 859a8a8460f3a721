"""Which outbound relay may be connected to, and the connection itself (threats.md, section 5).

URLs come from users and from apps, so a name is looked up once, *every* answer must be a public address, and the socket
is opened to an address that was checked, never to the name: a second look-up could answer something else (DNS
rebinding). TLS and the Host header keep the name. Every failure reads the same, so that nobody can scan ports with us.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from django.conf import settings

from keycast.nostr.uris import UriError, normalize_relay_url

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) -> addresses as text. Raises OSError."""

Connector = Callable[[str, int], Awaitable[socket.socket]]
"""(address, port) -> connected socket. Raises OSError."""

RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 8.0
MOST_ADDRESSES = 16
TRIED_ADDRESSES = 3

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
    if _is_literal(host):
        return not is_public(host)
    labels = host.split(".")
    return len(labels) == 1 or labels[-1] in _LOCAL_NAMES


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def resolve(host: str, port: int) -> list[str]:
    """Look a name up with the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


async def connect(address: str, port: int) -> socket.socket:
    """Open a TCP connection to an address (never a name), without Nagle's delay."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened


class Guard:
    """Opens sockets to relays that may be used, and to nothing else."""

    def __init__(
        self, policy: GuardPolicy | None = None, resolver: Resolver = resolve, connector: Connector = connect
    ) -> None:
        self.policy = policy or GuardPolicy.from_settings()
        self._resolver = resolver
        self._connector = connector

    async def open(self, url: str) -> tuple[RelayAddress, socket.socket]:
        """Connect to the relay at ``url``; the caller closes the socket. Raises RelayRefused, whatever went wrong."""
        relay = check_url(url, self.policy)
        for address in (await self._addresses(relay))[:TRIED_ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return relay, await self._connector(address, relay.port)
            except OSError:  # TimeoutError is one
                continue
        raise RelayRefused

    async def _addresses(self, relay: RelayAddress) -> list[str]:
        """Look the host up once. Every answer must be allowed: a mixed answer is an attack or a mistake."""
        if _is_literal(relay.host):
            return [relay.host]
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._resolver(relay.host, relay.port)
        except (OSError, UnicodeError):
            raise RelayRefused from None
        if not 1 <= len(found) <= MOST_ADDRESSES:
            raise RelayRefused
        if not relay.is_private_allowed and not all(is_public(address) for address in found):
            raise RelayRefused
        return found
