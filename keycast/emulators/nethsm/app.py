"""The emulated device as an ASGI application: paths, states, credentials, roles, and its misbehaviour."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

import msgspec

from keycast.emulators.nethsm.faults import NetHsmFault, NetHsmFaultKind, NetHsmFaults
from keycast.emulators.nethsm.service import EmulatorResponse, NetHsmEmulatorError, NetHsmEmulatorService
from keycast.emulators.nethsm.store import NetHsmEmulatorStore, NetHsmEmulatorUser, make_key

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY: Final = 1024 * 1024
_JSON: Final = "application/json"
_PEM: Final = "application/x-pem-file"
_ROOT, _ADMIN, _OPERATOR, _EITHER, _ANY = "root", "admin", "operator", "either", "any"


class NetHsmRoute(NamedTuple):
    """A path, a method, the operation's name in Service, and who may ask for it."""

    path: re.Pattern[str]
    method: str
    operation: str
    who: str


def _route(path: str, method: str, operation: str, who: str) -> NetHsmRoute:
    return NetHsmRoute(re.compile("/api/v1" + path.replace("{}", "([^/]+)")), method, operation, who)


ROUTES: Final = (
    _route("/namespaces", "GET", "namespaces", _ROOT),
    _route("/namespaces/{}", "PUT", "put_namespace", _ROOT),
    _route("/namespaces/{}", "DELETE", "delete_namespace", _ROOT),
    _route("/users", "GET", "users", _ADMIN),
    _route("/users/{}", "GET", "get_user", _ANY),
    _route("/users/{}", "PUT", "put_user", _ADMIN),
    _route("/users/{}", "DELETE", "delete_user", _ADMIN),
    _route("/keys/generate", "POST", "generate", _ADMIN),
    _route("/keys", "GET", "keys", _EITHER),
    _route("/keys/{}", "GET", "get_key", _EITHER),
    _route("/keys/{}", "DELETE", "delete_key", _ADMIN),
    _route("/keys/{}/public.pem", "GET", "public_key", _EITHER),
    _route("/keys/{}/sign", "POST", "sign", _OPERATOR),
)
PUBLIC: Final = frozenset({"info", "health/alive", "health/ready", "health/state"})
INFO: Final = {"vendor": "Keycast", "product": "NetHSM emulator (protects nothing)"}


class NetHsmEmulatorApp:
    """An ASGI application. ``state`` is the device's: Operational, Locked, Unprovisioned or Failed."""

    def __init__(self, store: NetHsmEmulatorStore) -> None:
        self.store, self.faults, self.state = store, NetHsmFaults(), "Operational"
        self.calls: list[tuple[str, str]] = []
        self._service = NetHsmEmulatorService(store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        try:
            operation, argument, who = self._find(scope["path"], scope["method"])
            faults = self.faults.take(operation)
            if await _strike(faults, receive, send):
                return
            answer = self._answer(operation, argument, who, dict(scope["headers"]), body)
            for fault in faults:
                answer = self._spoiled(fault.kind, operation, answer)
        except NetHsmEmulatorError as refusal:
            answer = EmulatorResponse(refusal.status, {"message": refusal.message})
        await _send(send, answer)

    def _find(self, path: str, method: str) -> tuple[str, str, str]:
        if method == "GET" and path.removeprefix("/api/v1/") in {
            "info",
            "health/alive",
            "health/ready",
            "health/state",
        }:
            return path.removeprefix("/api/v1/"), "", ""
        found = [(route, match) for route in ROUTES if (match := route.path.fullmatch(path))]
        if not found:
            raise NetHsmEmulatorError(404, "not found")
        for route, match in found:
            if route.method == method:
                return route.operation, (match.groups() or ("",))[0], route.who
        raise NetHsmEmulatorError(405, "method not allowed")

    def _answer(
        self, operation: str, argument: str, who: str, headers: dict[bytes, bytes], body: bytes
    ) -> EmulatorResponse:
        if not who:
            return self._public(operation)
        if self.state != "Operational":
            raise NetHsmEmulatorError(412, "Service not available")
        user = self._authenticated(headers.get(b"authorization", b""))
        self.calls.append((operation, user.id))
        if not _may(user, who):
            raise NetHsmEmulatorError(403, "this role does not allow it")
        wanted = _PEM if operation == "public_key" else _JSON
        accepted = headers.get(b"accept", b"*/*").decode("latin-1")
        if wanted not in accepted and "*/*" not in accepted:
            raise NetHsmEmulatorError(406, "not acceptable")
        answer: EmulatorResponse = getattr(self._service, operation)(user, argument, body)
        return answer

    def _public(self, operation: str) -> EmulatorResponse:
        if operation == "info":
            return EmulatorResponse(200, INFO)
        if operation == "health/state":
            return EmulatorResponse(200, {"state": self.state})
        is_ready = self.state == "Operational"
        return EmulatorResponse(200 if is_ready == (operation == "health/ready") else 412)

    def _authenticated(self, header: bytes) -> NetHsmEmulatorUser:
        kind, _, encoded = header.partition(b" ")
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            text = ""
        name, separator, passphrase = text.partition(":")
        if kind != b"Basic" or not separator:
            raise NetHsmEmulatorError(401, "unauthorized")
        if self.store.is_throttled(name):
            raise NetHsmEmulatorError(429, "too many requests")
        user = self.store.authenticate(name, passphrase)
        if user is None:
            raise NetHsmEmulatorError(401, "unauthorized")
        return user

    def _spoiled(self, kind: NetHsmFaultKind, operation: str, answer: EmulatorResponse) -> EmulatorResponse:
        if kind is NetHsmFaultKind.GARBAGE:
            return EmulatorResponse(answer.status, "{garbage")
        if kind is NetHsmFaultKind.WRONG_KEY and operation == "public_key":
            return self._other_key(answer)
        if operation == "sign" and kind in {NetHsmFaultKind.WRONG_SIGNATURE, NetHsmFaultKind.SHORT_SIGNATURE}:
            raw = bytearray(base64.b64decode(answer.body["signature"]))
            raw[-1] ^= 1
            made = raw if kind is NetHsmFaultKind.WRONG_SIGNATURE else raw[:-1]
            return EmulatorResponse(answer.status, {"signature": base64.b64encode(made).decode()})
        return answer

    def _other_key(self, answer: EmulatorResponse) -> EmulatorResponse:
        key = make_key(["BIP340_Signature"])
        spare = NetHsmEmulatorStore("spare", "")
        spare.keys["", "spare"] = key
        return NetHsmEmulatorService(spare).public_key(spare.users["spare"], "spare", b"")


async def _strike(faults: list[NetHsmFault], receive: Receive, send: Send) -> bool:
    """Whether a fault took the answer's place."""
    for fault in faults:
        if fault.kind is NetHsmFaultKind.LATENCY:
            if await _hung_up(receive, fault.seconds):
                return True
        elif fault.kind is NetHsmFaultKind.DISCONNECT:
            await _break_off(send)
            return True
        elif fault.kind is NetHsmFaultKind.STATUS:
            await _send(send, EmulatorResponse(fault.status, {"message": "emulated"}), int(fault.seconds))
            return True
    return False


async def _hung_up(receive: Receive, seconds: float) -> bool:
    """Whether the caller went away in this time: nothing is done for one who no longer listens."""
    try:
        await asyncio.wait_for(receive(), seconds)  # the body was read, so only a disconnect can come
    except TimeoutError:
        return False
    return True


def _may(user: NetHsmEmulatorUser, who: str) -> bool:
    if who == _ROOT:
        return user.role == "Administrator" and not user.namespace
    allowed = {_ADMIN: {"Administrator"}, _OPERATOR: {"Operator"}, _EITHER: {"Administrator", "Operator"}}
    return who == _ANY or user.role in allowed[who]


async def _body(receive: Receive) -> bytes | None:
    """None when the caller went away before the end of it."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > MAX_BODY:
            return body


async def _send(send: Send, answer: EmulatorResponse, retry_after: int = 0) -> None:
    is_text = isinstance(answer.body, str)
    body = b"" if answer.body is None else answer.body.encode() if is_text else msgspec.json.encode(answer.body)
    headers = [(b"content-length", str(len(body)).encode())] if answer.status != 204 else []
    headers.append((b"content-type", (_PEM if is_text else _JSON).encode()))
    if answer.location:
        headers.append((b"location", answer.location.encode()))
    if retry_after:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _break_off(send: Send) -> None:
    """Promise a body that never comes: the server closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
