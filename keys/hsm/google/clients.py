"""The genuine Cloud KMS clients of this process, made on first use and never carried over a fork.

A blocking one for jobs and threads for each identity (keys.hsm.google.identities), and for each event loop a lane:
asyncio clients of the authoriser and the number of requests that may be under way at once. With
``KEYCAST_KMS_EMULATOR=1`` they talk to ``KEYCAST_KMS_ENDPOINT`` without TLS and name their account in clear.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import grpc
from django.conf import settings
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcAsyncIOTransport as AsyncTransport,
)
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcTransport as BlockingTransport,
)

from keys.hsm.google import identities
from keys.hsm.google.identities import Identity
from keys.hsm_errors import HsmThrottled, HsmUnavailable

#: One HTTP/2 connection carries about 100 requests at once at Google; two leave room for 100 clients and more.
CONNECTIONS: Final = 2
UNDER_WAY: Final = 180
WAITING: Final = 1000
CREDENTIALS_SECONDS: Final = 4.0
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.use_local_subchannel_pool", 1),
    # The default waits up to two minutes before it connects again; the breaker paces attempts already.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class KmsLoopClient:
    """What one event loop calls Cloud KMS through."""

    def __init__(self, credentials: Any) -> None:
        self._places = asyncio.Semaphore(UNDER_WAY)
        self._waiting = 0
        transports = [_async_transport(credentials) for _ in range(CONNECTIONS)]
        self._clients = itertools.cycle(kms_v1.KeyManagementServiceAsyncClient(transport=each) for each in transports)

    @asynccontextmanager
    async def place(self, seconds: float) -> AsyncIterator[kms_v1.KeyManagementServiceAsyncClient]:
        """A client, once there is room for one more request. Raises HsmThrottled when there is none in ``seconds``."""
        if self._waiting >= WAITING:
            raise HsmThrottled
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise HsmThrottled from None
        finally:
            self._waiting -= 1
        try:
            yield next(self._clients)
        finally:
            self._places.release()


_lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, KmsLoopClient] = weakref.WeakKeyDictionary()
_blocking: dict[Identity, kms_v1.KeyManagementServiceClient] = {}
_lock = threading.Lock()


async def loop_client() -> KmsLoopClient:
    """The lane of the running event loop. Raises HsmForbidden when there are no credentials."""
    loop = asyncio.get_running_loop()
    found = _lanes.get(loop)
    if found is None:
        try:
            found_credentials = asyncio.to_thread(_credentials, Identity.AUTHORISER)
            credentials = await asyncio.wait_for(found_credentials, CREDENTIALS_SECONDS)
        except TimeoutError:
            raise HsmUnavailable from None
        found = _lanes.get(loop) or _lanes.setdefault(loop, KmsLoopClient(credentials))
    return found


def blocking_client(identity: Identity = Identity.AUTHORISER) -> kms_v1.KeyManagementServiceClient:
    """The client for jobs and threads; it is thread-safe.

    Raises HsmForbidden when there are no credentials, and for the keeper's in a process that serves the network.
    """
    with _lock:
        if identity not in _blocking:
            transport = _blocking_transport(_credentials(identity))
            _blocking[identity] = kms_v1.KeyManagementServiceClient(transport=transport)
        return _blocking[identity]


def reset() -> None:
    """Forget every client, so that the next use reads the settings again."""
    with _lock:
        for client in _blocking.values():
            client.transport.close()  # type: ignore[no-untyped-call]
        _blocking.clear()
    _lanes.clear()


def _async_transport(credentials: Any) -> AsyncTransport:
    if settings.KMS_EMULATOR:
        named: list[Any] = [_NamedAsync(credentials)]
        channel = grpc.aio.insecure_channel(settings.KMS_ENDPOINT, options=_OPTIONS, interceptors=named)
        return AsyncTransport(channel=channel)
    create = partial(_channel, AsyncTransport.create_channel)
    return AsyncTransport(host=_host(), credentials=credentials, channel=create, always_use_jwt_access=True)


def _blocking_transport(credentials: Any) -> BlockingTransport:
    if settings.KMS_EMULATOR:
        channel = grpc.insecure_channel(settings.KMS_ENDPOINT, options=_OPTIONS)
        return BlockingTransport(channel=grpc.intercept_channel(channel, _Named(credentials)))
    create = partial(_channel, BlockingTransport.create_channel)
    return BlockingTransport(host=_host(), credentials=credentials, channel=create, always_use_jwt_access=True)


def _channel(create: Callable[..., Any], host: str, *, options: list[tuple[str, Any]], **named: Any) -> Any:
    """The channel that Google's transport would make itself, with our options beside its own."""
    return create(host, options=[*options, *_OPTIONS], **named)


def _host() -> str:
    return settings.KMS_ENDPOINT or AsyncTransport.DEFAULT_HOST


def _credentials(identity: Identity) -> Any:
    """Google's credentials; for the emulator the account's name."""
    return identities.emulated_account(identity) if settings.KMS_EMULATOR else identities.credentials(identity)


class _Naming:
    """Says who calls, as a bearer token would that Google had issued for this account."""

    def __init__(self, account: str) -> None:
        self._token = ("authorization", f"Bearer {account}")

    def _named(self, details: Any) -> Any:
        cls = grpc.aio.ClientCallDetails if isinstance(details, grpc.aio.ClientCallDetails) else _CallDetails
        metadata = (*(details.metadata or ()), self._token)
        if cls is _CallDetails:
            return _CallDetails(details.method, details.timeout, metadata, details.credentials)
        return cls(
            details.method, details.timeout, grpc.aio.Metadata(*metadata), details.credentials, details.wait_for_ready
        )


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None = None
    compression: Any = None


class _Named(_Naming, grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._named(client_call_details), request)


class _NamedAsync(_Naming, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._named(client_call_details), request)


def _after_fork() -> None:
    global _lock, _lanes  # noqa: PLW0603 -- neither a lock held nor a connection made before the fork is of use
    _lock = threading.Lock()
    _lanes = weakref.WeakKeyDictionary()
    _blocking.clear()


os.register_at_fork(after_in_child=_after_fork)
