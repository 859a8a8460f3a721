"""Connections of this process to OpenBao, made on first use and never carried over a fork.

TLS trusts the pinned certificate file and nothing else; the environment's proxies count for nothing, and redirects are
not followed: name the active node, or a load balancer.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm_errors import HsmMisconfigured, HsmThrottled

CONNECTIONS: Final = 32
WAITING: Final = 512
"""Requests of one event loop that may wait for a connection."""
_LIMITS: Final = httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=30.0)
_HEADERS: Final = {"User-Agent": "keycast", "X-Vault-Request": "true", "Accept-Encoding": "identity"}


class OpenBaoLoopClient:
    """What one event loop talks to OpenBao through."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.client = httpx.AsyncClient(verify=context, limits=_LIMITS, headers=_HEADERS, trust_env=False)
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._waiting = 0

    @asynccontextmanager
    async def place(self, seconds: float) -> AsyncIterator[httpx.AsyncClient]:
        """The client, once a connection is free. Raises HsmThrottled when none is in ``seconds``."""
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
            yield self.client
        finally:
            self._places.release()


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenBaoLoopClient] = weakref.WeakKeyDictionary()
_blocking: list[httpx.Client] = []
_lock = threading.Lock()


async def loop_client(config: OpenBaoConfig) -> OpenBaoLoopClient:
    """The client of the running event loop. Raises HsmMisconfigured when the pinned certificate cannot be read."""
    loop = asyncio.get_running_loop()
    found = _loops.get(loop)
    if found is None:
        context = await asyncio.to_thread(_context, config.ca_file)
        found = _loops.get(loop) or _loops.setdefault(loop, OpenBaoLoopClient(context))
    return found


def blocking_client(config: OpenBaoConfig) -> httpx.Client:
    """The client for jobs and threads; it is thread-safe. Raises HsmMisconfigured like ``loop_client``."""
    with _lock:
        if not _blocking:
            context = _context(config.ca_file)
            _blocking.append(httpx.Client(verify=context, limits=_LIMITS, headers=_HEADERS, trust_env=False))
        return _blocking[0]


def reset() -> None:
    """Forget every client, so that the next use reads the settings again."""
    with _lock:
        for client in _blocking:
            client.close()
        _blocking.clear()
    _loops.clear()


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate may be the one pinned
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise HsmMisconfigured("The certificate file of OpenBao cannot be read on this server.") from None
    return context


def _after_fork() -> None:
    global _lock, _loops  # noqa: PLW0603 -- neither a lock held nor a connection made before the fork is of use
    _lock = threading.Lock()
    _loops = weakref.WeakKeyDictionary()
    _blocking.clear()


os.register_at_fork(after_in_child=_after_fork)
