"""uvicorn, set up for websockets of a relay and stopped in the right order."""

from __future__ import annotations

import socket

import uvicorn
from django.conf import settings

from bunker.relays.hub import get_hub
from keycast.asgi import SECRET_FIELDS, application, lifespan, limits
from keycast.operations.probe_token import make_probe_token
from keycast.serving.connections import ConnectionRegister
from keycast.serving.open_files import make_room_for_connections
from keycast.serving.protocols import protocols

LARGEST_FRAME = 1024 * 1024
"""Bytes of one websocket message; larger ones close the connection (1009) before they are complete."""

BACKLOG = 2048
GRACE = 10
"""Seconds for open HTTP requests to finish once the server stops."""
TICKS = 10
"""uvicorn's ticks between two looks for connections that have been open for too long: a second."""


def configuration(*, host: str, port: int, register: ConnectionRegister) -> uvicorn.Config:
    """How we run uvicorn.

    No compression: it costs memory per connection and opens the door to decompression bombs. Proxy headers are read by
    keycast.proxies, by count instead of by address. Our own logging stays in force.
    """
    http, websocket = protocols(register, SECRET_FIELDS)
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=http,
        ws=websocket,
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

    def __init__(self, *, host: str, port: int) -> None:
        """Raises ImproperlyConfigured where the limits of connections do not fit what the process may open."""
        make_room_for_connections(limits, get_hub().limits)
        make_probe_token()
        self.register = ConnectionRegister(limits, counts_peers=not settings.TRUSTED_PROXY_COUNT)
        super().__init__(configuration(host=host, port=port, register=self.register))

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS == 0:
            self.register.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hub = get_hub()
        hub.stop()
        await lifespan.stop()
        hub.flush()
        await super().shutdown(sockets)
        self._captured_signals.clear()  # else uvicorn raises the signal again and the exit code is not 0
