"""The emulator's gRPC server, and how it is told to misbehave.

In the same process: ``KmsEmulator(...).faults.set([...])``. From another one: ``control(address, {...})``, a call of a
service of its own beside Cloud KMS's, in JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import google_crc32c
import grpc
from google.cloud.kms_v1.types import service as messages
from google.iam.v1 import iam_policy_pb2

from keycast.emulators.kms.access import KmsAccess, caller
from keycast.emulators.kms.faults import KmsFault, KmsFaultKind, KmsFaults
from keycast.emulators.kms.quotas import KmsQuotas
from keycast.emulators.kms.refusals import KmsEmulatorError
from keycast.emulators.kms.service import KmsEmulatorService
from keycast.emulators.kms.store import KmsEmulatorStore

THREADS: Final = 192
SERVICE: Final = "google.cloud.kms.v1.KeyManagementService"
IAM: Final = "google.iam.v1.IAMPolicy"
CONTROL: Final = "keycast.emulators.KmsControl"
_TICK: Final = 0.05
_NUMBERS: Final[dict[str, Callable[[Any], Any]]] = {
    "pending_seconds": float,
    "disabling_seconds": float,
    "generation_failures": int,
    "attests": bool,
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM texts of a server certificate and its key."""

    certificate: bytes
    key: bytes


class KmsEmulator:
    """A Cloud KMS on ``host:port`` (0: any free port), from ``start`` to ``stop``; or on a Unix ``socket``."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        socket: Path | None = None,
        path: Path | None = None,
        tls: TlsFiles | None = None,
        key_rings: Iterable[str] = (),
    ) -> None:
        self.store = KmsEmulatorStore(path)
        self.store.key_rings |= set(key_rings)
        self.access, self.quotas = KmsAccess(), KmsQuotas()
        self.faults = KmsFaults()
        self.calls: dict[str, int] = {}
        self._service = KmsEmulatorService(self.store)
        self._address = (host, port)
        self._socket = socket
        self._tls = tls
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        """``host:port``, or ``unix:path``, as gRPC clients reach it."""
        return f"unix:{self._socket}" if self._socket else "{}:{}".format(*self._address)

    def start(self) -> Self:
        """Listen. A restarted emulator keeps its port and its keys."""
        server = grpc.server(ThreadPoolExecutor(THREADS, "kms-emulator"), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((self._handlers(), self._iam_handlers(), self._control_handlers()))
        if self._tls:
            credentials = grpc.ssl_server_credentials([(self._tls.key, self._tls.certificate)])
            port = server.add_secure_port(self.address, credentials)
        else:
            port = server.add_insecure_port(self.address)
        if not port:
            raise OSError(f"cannot listen on {self.address}")
        self._address = (self._address[0], port)
        self._server = server
        server.start()
        return self

    def stop(self) -> None:
        """Close every connection at once."""
        if self._server is not None:
            self._server.stop(grace=None).wait(5)
            self._server = None

    def wait(self) -> None:
        """Serve until the process is told to end."""
        if self._server is not None:
            self._server.wait_for_termination()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def apply(self, orders: dict[str, Any]) -> None:
        """What is not named stays.

        ``faults``: [{"kind": …, …}]; ``access``: {account: {resource: [permission, …]}}; ``quotas``: {metric: calls a
        second}; ``key_rings``: those that exist; ``pending_seconds``, ``disabling_seconds``, ``generation_failures``,
        ``attests``: as in KmsEmulatorStore.
        """
        if "faults" in orders:
            self.faults.set([KmsFault(**fields) for fields in orders["faults"]])
        if "access" in orders:
            self.access.set(orders["access"])
        if "quotas" in orders:
            self.quotas.set(orders["quotas"])
        if "key_rings" in orders:
            self.store.key_rings = set(orders["key_rings"])
        for name, kind in _NUMBERS.items():
            if name in orders:
                setattr(self.store, name, kind(orders[name]))

    def _handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: self._handler(name) for name in dir(KmsEmulatorService) if name[0].isupper()}
        )

    def _handler(self, name: str) -> grpc.RpcMethodHandler:
        request_type: Any = getattr(messages, f"{name}Request")
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(name, request, context),
            request_deserializer=request_type.deserialize,
            response_serializer=lambda response: type(response).serialize(response),
        )

    def _answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        faults = self.faults.take(name)
        for fault in faults:
            _strike(fault, context)
        call: Callable[[Any], Any] = getattr(self._service, name)
        try:
            with self.store.lock:
                self.calls[name] = self.calls.get(name, 0) + 1
                self.access.require(context, name, _resource(request))
                self.quotas.take(name, _resource(request))
                response = call(request)
        except KmsEmulatorError as refusal:
            refusal.abort(context)
        for fault in faults:
            _spoil(fault.kind, response)
        return response

    def _iam_handlers(self) -> grpc.GenericRpcHandler:
        def test(request: Any, context: grpc.ServicerContext) -> Any:
            who, resource = caller(context), request.resource
            had = [each for each in request.permissions if self.access.has(who, each, resource)]
            # Whoever may do nothing with it is not told whether it exists.
            rings = self.store.key_rings
            is_there = not rings or any(f"{resource}/".startswith(f"{ring}/") for ring in rings)
            return iam_policy_pb2.TestIamPermissionsResponse(permissions=had if is_there else [])

        handler = grpc.unary_unary_rpc_method_handler(
            test,
            request_deserializer=iam_policy_pb2.TestIamPermissionsRequest.FromString,
            response_serializer=iam_policy_pb2.TestIamPermissionsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(IAM, {"TestIamPermissions": handler})

    def _control_handlers(self) -> grpc.GenericRpcHandler:
        def apply(raw: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                self.apply(json.loads(raw))
            except (ValueError, TypeError) as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return json.dumps({"calls": self.calls}).encode()

        return grpc.method_handlers_generic_handler(CONTROL, {"Apply": grpc.unary_unary_rpc_method_handler(apply)})


def control(address: str, orders: dict[str, Any]) -> dict[str, Any]:
    """Tell an emulator in another process what to do (``KmsEmulator.apply``); its numbers of calls by method."""
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(f"/{CONTROL}/Apply")(json.dumps(orders).encode(), timeout=5)
    result: dict[str, Any] = json.loads(answer)
    return result


def _resource(request: Any) -> str:
    """What a call is about, and permissions are looked up for."""
    if isinstance(request, messages.UpdateCryptoKeyVersionRequest):
        return str(request.crypto_key_version.name)
    return str(getattr(request, "name", "") or getattr(request, "parent", ""))


def _strike(fault: KmsFault, context: grpc.ServicerContext) -> None:
    if fault.kind is KmsFaultKind.LATENCY:
        time.sleep(fault.seconds)
    elif fault.kind is KmsFaultKind.HANG:
        _hang(fault.seconds, context)
    elif fault.kind in {KmsFaultKind.ERROR, KmsFaultKind.FLAPPING}:
        context.abort(grpc.StatusCode[fault.code], f"emulated {fault.code}")


def _hang(seconds: float, context: grpc.ServicerContext) -> None:
    until = time.monotonic() + seconds
    while context.is_active() and time.monotonic() < until:
        time.sleep(_TICK)
    if not context.is_active():
        context.abort(grpc.StatusCode.CANCELLED, "nobody waits any more")


def _spoil(kind: KmsFaultKind, response: Any) -> None:
    fields = type(response).pb(response).DESCRIPTOR.fields_by_name
    payload = next((name for name in ("signature", "pem", "ciphertext", "plaintext") if name in fields), "")
    if kind is KmsFaultKind.WRONG_NAME and "name" in fields:
        response.name = response.name.replace("/cryptoKeys/", "/cryptoKeys/not-", 1)
    elif kind is KmsFaultKind.WRONG_CHECKSUM and payload:
        checksum = f"{payload}_crc32c"
        setattr(response, checksum, getattr(response, checksum) ^ 1)
    elif kind is KmsFaultKind.UNVERIFIED:
        for name in fields:
            if name.startswith("verified_"):
                setattr(response, name, False)
    elif kind is KmsFaultKind.WRONG_PAYLOAD and payload:
        _replace(response, payload)


def _replace(response: Any, payload: str) -> None:
    """Other content, with a checksum that fits it."""
    old = getattr(response, payload)
    raw = bytearray(old.encode() if isinstance(old, str) else old)
    raw[-1 if payload != "pem" else len(raw) // 2] ^= 1
    new = bytes(raw)
    setattr(response, payload, new.decode("latin-1") if isinstance(old, str) else new)
    setattr(response, f"{payload}_crc32c", google_crc32c.value(new))
