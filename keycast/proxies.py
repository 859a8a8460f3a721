"""Who is really calling, when proxies that we run stand in front of us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]

_SECURE = {"http": "https", "websocket": "wss"}


def _header(scope: Scope, name: bytes) -> str:
    """All values of a header joined by commas, as RFC 9110 section 5.3 allows."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


class TrustedProxies:
    """Takes the client's address and scheme from the ``count`` nearest proxies; with ``count`` 0 from nobody.

    The n-th entry of ``X-Forwarded-For`` from the right was written by the n-th proxy in front of us; whatever
    stands further left was sent by the caller and is worth nothing. ``X-Forwarded-Host`` is not its
    business but that of accounts.middleware.
    """

    def __init__(self, application: Application, *, count: int) -> None:
        self.application = application
        self.count = count

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if self.count and scope["type"] in _SECURE:
            scope = self._forwarded(dict(scope))
        await self.application(scope, receive, send)

    def _forwarded(self, scope: Scope) -> Scope:
        hops = [hop.strip() for hop in _header(scope, b"x-forwarded-for").split(",") if hop.strip()]
        if len(hops) >= self.count:
            scope["client"] = (hops[-self.count], 0)
        if _header(scope, b"x-forwarded-proto").split(",")[-1].strip().lower() == "https":
            scope["scheme"] = _SECURE[scope["type"]]
        return scope
