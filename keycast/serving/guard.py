"""The guard before Django: host, length and rate of a body, and how much one network asks for at once.

Django takes a whole body, into a temporary file if it is large, before any of our code sees the request. Here a body is
read only for a host that is served, never beyond its bound, never on disk, and for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from asgiref.sync import ThreadSensitiveContext
from channels.db import database_sync_to_async
from django.db import DatabaseError

from accounts.hosts import BadHost, host_name
from accounts.models import Tenant
from accounts.resolve import asked_host, is_platform_host, tenant_of_domain
from keycast.base.metrics import CONNECTIONS_ENDED
from keycast.base.networks import NetworkShares
from keycast.crypto import secret_fields
from keycast.crypto.secret import wipe_bytes
from keycast.proxies import Application, Scope
from keycast.serving.limits import ConnectionLimits

BODY_SHARE: Final = 8
"""One network holds at most so large a part (an eighth) of the memory for bodies."""


class Answer(NamedTuple):
    """What is said in place of Django's answer: a status and one line of text. ``reason`` is a label of the metrics."""

    status: int
    text: str
    reason: str


class RequestRefused(Exception):
    """A request goes no further."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


BAD_HOST: Final = Answer(400, "Bad Request: not a host name.", "host")
BAD_LENGTH: Final = Answer(400, "Bad Request: no length.", "body")
UNKNOWN_HOST: Final = Answer(404, "Not Found", "host")
SUSPENDED: Final = Answer(403, "This service is suspended.", "host")
TOO_SLOW: Final = Answer(408, "The request took too long to arrive.", "body-time")
TOO_LONG: Final = Answer(413, "The request is too large.", "body")
TOO_MANY: Final = Answer(429, "Too many requests at once from this address.", "network")
BUSY: Final = Answer(503, "Too many requests at once. Try again in a moment.", "busy")
UNAVAILABLE: Final = Answer(503, "The service is not available at the moment.", "database")


class Gone(Exception):
    """The client went while its body was awaited."""


def refusal_of_host(name: str, path: str) -> Answer | None:
    """Why a body for this host is not taken, or None; one query. The middleware asks again, for each request."""
    if is_platform_host(name):
        return None
    try:
        tenant = tenant_of_domain(name)
    except DatabaseError:
        return UNAVAILABLE
    if tenant is None:
        return UNKNOWN_HOST
    return SUSPENDED if tenant.state == Tenant.State.SUSPENDED and not path.startswith("/admin/") else None


class Guard:
    """Lets through to ``application`` what is within ``limits``. Lives in one event loop; behind TrustedProxies.

    ``bounds`` has the longest body of single paths that want less than the others; ``probes`` are the paths of
    machines that ask without naming a host, and send nothing. ``secrets`` has, by path, the fields of a form that are
    taken out of its body before Django makes text of it (keycast.crypto.secret_fields).
    """

    def __init__(
        self,
        application: Application,
        limits: ConnectionLimits,
        *,
        bounds: Mapping[str, int],
        probes: Collection[str],
        refuse_host: Callable[[str, str], Answer | None] = refusal_of_host,
        secrets: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._application = application
        self._limits = limits
        self._bounds = bounds
        self._probes = probes
        self._refuse_host = refuse_host
        self._secrets = secrets or {}
        self._networks = NetworkShares(limits.connections_per_network)
        self._bodies = NetworkShares(limits.bodies_bytes // BODY_SHARE)
        self._held = 0
        self._answering = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        try:
            if not self._networks.take(address):
                raise RequestRefused(TOO_MANY)
            try:
                await self._take(scope, receive, send, address)
            finally:
                self._networks.give_back(address)
        except RequestRefused as refused:
            CONNECTIONS_ENDED.labels(refused.answer.reason).inc()
            await refuse(refused.answer, scope, receive, send)
        except Gone:
            return

    async def _take(self, scope: Scope, receive: Any, send: Any, address: str) -> None:
        if scope["type"] == "websocket":
            asked_name(scope)
            await self._application(scope, receive, send)
        elif scope["path"] in self._probes:
            if body_length(scope):
                raise RequestRefused(TOO_LONG)
            await self._application(scope, receive, send)
        else:
            name, length = asked_name(scope), body_length(scope)
            if length == 0:
                await self._answer(scope, receive, send)
                return
            most = self._bounds.get(scope["path"], self._limits.body_bytes)
            if length is not None and length > most:
                raise RequestRefused(TOO_LONG)
            await self._answer_with_body(scope, receive, send, Body(self, address, most), name)

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        """Hand a request on, if there is a thread to answer it."""
        if self._answering >= self._limits.requests:
            raise RequestRefused(BUSY)
        self._answering += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._answering -= 1

    async def _answer_with_body(self, scope: Scope, receive: Any, send: Any, body: Body, name: str) -> None:
        async with ThreadSensitiveContext():  # Django goes on in the same thread, with the same database connection
            # First the host, then the body: nothing is kept for a host that is not served.
            await self._look_up(name, scope["path"])
            fields = self._secrets.get(scope["path"], ()) if is_plain_form(scope) else ()
            try:
                whole = await body.read(receive, wipes=bool(fields))
                with secret_fields_of(scope, whole, fields) as (inner, rest):
                    await self._answer(inner, body.replayed(rest, receive), send)
            finally:
                body.release()

    async def _look_up(self, name: str, path: str) -> None:
        # Counted like an answer, for it takes a thread and a database connection as one does.
        if self._answering >= self._limits.requests:
            raise RequestRefused(BUSY)
        self._answering += 1
        try:
            refusal = await database_sync_to_async(self._refuse_host)(name, path)
        finally:
            self._answering -= 1
        if refusal is not None:
            raise RequestRefused(refusal)

    def hold(self, address: str, amount: int) -> None:
        """Count bytes of a body that is kept. Raises RequestRefused where that is too much."""
        if self._held + amount > self._limits.bodies_bytes:
            raise RequestRefused(BUSY)
        if not self._bodies.take(address, amount):
            raise RequestRefused(TOO_MANY)
        self._held += amount

    def let_go(self, address: str, amount: int) -> None:
        """Count them no more."""
        self._held -= amount
        self._bodies.give_back(address, amount)

    @property
    def body_seconds(self) -> float:
        """How long a body may take to arrive."""
        return self._limits.body_seconds


class Body:
    """One body: read up to ``most`` bytes, counted while it is kept."""

    def __init__(self, guard: Guard, address: str, most: int) -> None:
        self._guard, self._address, self._most = guard, address, most
        self._size = 0

    async def read(self, receive: Any, *, wipes: bool = False) -> bytes:
        """All of it. Raises RequestRefused when it is too long or too slow, Gone when the client leaves.

        With ``wipes`` the parts that it came in are overwritten once it is whole: nobody else may refer to them.
        """
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._guard.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part: bytes = message.get("body", b"")
                    if self._size + len(part) > self._most:
                        raise RequestRefused(TOO_LONG)
                    self._guard.hold(self._address, len(part))
                    self._size += len(part)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return _joined(parts, wipes=wipes)
        except TimeoutError:
            raise RequestRefused(TOO_SLOW) from None

    def replayed(self, whole: bytes, receive: Any) -> Any:
        """A ``receive`` that gives the body once, then what the server has to say."""
        messages = [{"type": "http.request", "body": whole, "more_body": False}]

        async def again() -> Any:
            return messages.pop() if messages else await receive()

        return again

    def release(self) -> None:
        """It is kept no more."""
        self._guard.let_go(self._address, self._size)
        self._size = 0


def _joined(parts: list[bytes], *, wipes: bool) -> bytes:
    whole = b"".join(parts)  # of one part this is that part itself
    if wipes and len(parts) > 1:
        for part in parts:
            wipe_bytes(part)
    return whole


def is_plain_form(scope: Scope) -> bool:
    """Whether the body is a form without files."""
    kind: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return kind.partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded"


@contextmanager
def secret_fields_of(scope: Scope, whole: bytes, fields: Collection[str]) -> Iterator[tuple[Scope, bytes]]:
    """The request without the secrets in its body; they are in its scope, and wiped when it is answered.

    ``whole`` is overwritten where there is a field to be taken out.
    """
    if not fields:
        yield scope, whole
        return
    body = bytearray(whole)
    wipe_bytes(whole)
    found = secret_fields.take(body, fields)
    try:
        yield {**scope, secret_fields.SCOPE_KEY: found}, bytes(body)
    finally:
        for secret in found.values():
            secret.wipe()


def asked_name(scope: Scope) -> str:
    """The name of the host that was asked for. Raises RequestRefused unless there is exactly one, well-formed."""
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    forwarded = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-host")
    try:
        return host_name(asked_host(hosts[0] if len(hosts) == 1 else "", forwarded))
    except BadHost:
        raise RequestRefused(BAD_HOST) from None


def body_length(scope: Scope) -> int | None:
    """How long the body says it is; None where only its end will tell. Raises RequestRefused for what is no number."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    declared: bytes = headers.get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > 18:
        raise RequestRefused(BAD_LENGTH)
    return int(declared)


async def refuse(said: Answer, scope: Scope, receive: Any, send: Any) -> None:
    """Say no, and end the connection: what is left of the body is not read."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    text = f"{said.text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if said.status in {429, 503}:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": said.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
