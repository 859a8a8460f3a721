"""Which outbound relay may be connected to, and the connection itself (threats.md, section 5).

URLs come from users and from apps, so a name is looked up once, *every* answer must be a public address, and the socket
is opened to an address that was checked, never to the name: a second look-up could answer something else (DNS
rebinding). TLS and the Host header keep the name. Every failure reads the same, so that nobody can scan ports with us.
The rules that need no look-up are in bunker.relay_addresses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from bunker.relay_addresses import OutboundPolicy, RelayAddress, RelayRefused, check_url
from keycast.base.outbound import is_literal, is_public

__all__ = ["OutboundPolicy", "RelayAddress", "RelayRefused", "SsrfGuard", "check_url", "is_public"]

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) -> addresses as text. Raises OSError."""

Connector = Callable[[str, int], Awaitable[socket.socket]]
"""(address, port) -> connected socket. Raises OSError."""

RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 8.0
# More than any relay has. Only the first few are tried; a longer answer is a mistake or an attack.
MOST_ADDRESSES = 16
TRIED_ADDRESSES = 3


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


class SsrfGuard:
    """Opens sockets to relays that may be used, and to nothing else."""

    def __init__(
        self, policy: OutboundPolicy | None = None, resolver: Resolver = resolve, connector: Connector = connect
    ) -> None:
        self.policy = policy or OutboundPolicy.from_settings()
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
        if is_literal(relay.host):
            return [relay.host]
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._resolver(relay.host, relay.port)
        except (OSError, UnicodeError):
            raise RelayRefused from None
        if not 1 <= len(found) <= MOST_ADDRESSES:
            raise RelayRefused
        # All of them, not just the one that is used: who mixes a public and a private address waits for the second
        # try.
        if not relay.is_private_allowed and not all(is_public(address) for address in found):
            raise RelayRefused
        return found
