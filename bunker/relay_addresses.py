"""Which relay URLs may be connected to at all, judged by the URL alone (threats.md, section 5).

What a name resolves to is judged where the connection is made (bunker.relays.ssrf_guard), each time anew.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from django.conf import settings

from keycast.base.outbound import is_local_name
from keycast.nostr.uris import UriError, normalize_relay_url

BUILT_IN_PATH = "/relay"
_SLASHES = re.compile("/+")


def is_built_in_path(path: str) -> bool:
    """Whether a percent-decoded path leads to the built-in relay. Clients normalise relay URLs, each in its own way:
    with a slash at the end (NDK), with repeated slashes made one (nostr-tools), or not at all.
    """
    return path == BUILT_IN_PATH or _SLASHES.sub("/", path).removesuffix("/") == BUILT_IN_PATH


def is_built_in(url: str, hosts: Container[str]) -> bool:
    """Whether a relay URL in normal form is the built-in relay on one of ``hosts`` (host names, IPv6 in brackets)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (f"[{host}]" if ":" in host else host) in hosts and is_built_in_path(unquote(parts.path))


class RelayRefused(Exception):
    """This relay cannot be used. One text for every cause: the caller learns nothing about our network."""

    def __init__(self) -> None:
        super().__init__("This relay cannot be used.")


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """What the operator allows beyond ``wss://`` to public addresses at ``ports``.

    ``private_hosts`` are hosts (or ``host:port``) that may be private, in clear text and at any port;
    ``operator_urls`` are relays that the operator configured: any port, clear text, still only public addresses.
    """

    ports: frozenset[int] = frozenset({443})
    private_hosts: frozenset[str] = frozenset()
    operator_urls: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls) -> OutboundPolicy:
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


def check_url(url: str, policy: OutboundPolicy) -> RelayAddress:
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
        if is_local_name(host):
            raise RelayRefused
    return RelayAddress(normal, host, port, is_tls, is_private_allowed)
