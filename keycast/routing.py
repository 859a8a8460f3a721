"""Which ASGI application answers which websocket. Plain HTTP is all Django's."""

from __future__ import annotations

from typing import Any

from bunker.relay_addresses import is_built_in_path
from bunker.relays.consumer import RelayConsumer
from keycast.proxies import Application


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """There is no websocket at this path: close before accepting, which the client sees as HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1000})


class PathRouter:
    """Sends websockets at the relay's path to the relay, and refuses any other."""

    def __init__(self, relay: Application) -> None:
        self.relay = relay

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (self.relay if is_built_in_path(scope["path"]) else refuse)(scope, receive, send)


def websocket_router() -> Application:
    """The built-in relay at ``/relay``; nothing anywhere else."""
    return PathRouter(RelayConsumer.as_asgi())
