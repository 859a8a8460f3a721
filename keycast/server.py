"""uvicorn, set up for websockets of a relay and stopped in the right order."""

from __future__ import annotations

import socket

import uvicorn

from bunker.relays.hub import get_hub
from keycast.asgi import application, lifespan

LARGEST_FRAME = 1024 * 1024
"""Bytes of one websocket message; larger ones close the connection (1009) before they are complete."""

BACKLOG = 2048
GRACE = 10
"""Seconds for open HTTP requests to finish once the server stops."""


def configuration(*, host: str, port: int) -> uvicorn.Config:
    """How we run uvicorn.

    No compression: it costs memory per connection and opens the door to decompression bombs. Proxy headers are read by
    keycast.proxies, by count instead of by address. Our own logging stays in force.
    """
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="bunker.relays.direct_protocol:DirectProtocol",
        ws_max_size=LARGEST_FRAME,
        ws_per_message_deflate=False,
        ws_ping_interval=30,
        ws_ping_timeout=30,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


class Server(uvicorn.Server):
    """Drains the bunker worker while its clients are still connected, then closes connections; exits with 0."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hub = get_hub()
        hub.stop()
        await lifespan.stop()
        hub.flush()
        await super().shutdown(sockets)
        self._captured_signals.clear()  # else uvicorn raises the signal again and the exit code is not 0
