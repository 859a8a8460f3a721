"""Which ASGI application answers which path, before Django's own URLs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from keycast.proxies import Application

RELAY_PATH = "/relay"


class ByPath:
    """Sends one exact path to one application and every other path to another."""

    def __init__(self, path: str, application: Application, *, otherwise: Application) -> None:
        self.path = path
        self.application = application
        self.otherwise = otherwise

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        application = self.application if scope["path"] == self.path else self.otherwise
        await application(scope, receive, send)


async def refuse_websocket(scope: Any, receive: Any, send: Any) -> None:
    """There is no websocket at this path: close before accepting, which the client sees as HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1000})


def websocket_router() -> Application:
    """The built-in relay at ``/relay``; nothing anywhere else."""
    if find_spec("bunker.relays.consumer") is None:
        return refuse_websocket
    from bunker.relays.consumer import RelayConsumer  # noqa: PLC0415  (needs Django's apps)

    return ByPath(RELAY_PATH, RelayConsumer.as_asgi(), otherwise=refuse_websocket)


def http_router(django_application: Application) -> Application:
    """Everything is Django's."""
    return django_application
