"""Every bound of a connection from outside. Sizes in bytes, times in seconds. docs/app-makers.md lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from django.conf import settings

from keycast.base.limits import overridden


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of the web server. ``KEYCAST_CONNECTION_LIMITS`` overrides single ones, e.g. ``connections=5000``."""

    connections: int = 3_000
    """Open at once, websockets included. One more closes the one that has waited longest for its request."""
    connections_per_network: int = 400
    """From one IPv4 address or IPv6 /64; a /48 has ten times as many. Behind proxies: open requests and websockets."""
    requests: int = 128
    """Answered at once; each takes a thread and a database connection."""
    head_seconds: float = 10.0
    """From the connection, or the end of the last request, to the end of the next request's headers."""
    head_bytes: int = 32_768
    head_fields: int = 100
    body_bytes: int = 1024 * 1024
    body_seconds: float = 30.0
    bodies_bytes: int = 64 * 1024 * 1024
    """Of all bodies that are being taken or answered; one network has an eighth."""
    stall_seconds: float = 30.0
    """A client that takes nothing of its answer for as long is dropped."""
    request_seconds: float = 600.0
    """From the end of the headers to the end of the answer."""
    http_age: float = 3_600.0
    """A connection as old as this ends with its next answer."""
    websocket_age: float = 86_400.0

    @classmethod
    def from_settings(cls) -> Self:
        """Read overrides from settings. Raises ImproperlyConfigured for a name or a number that is none."""
        return overridden(cls(), settings.CONNECTION_LIMITS, "KEYCAST_CONNECTION_LIMITS")
