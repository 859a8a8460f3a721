"""Connections of this process to the NetHSM, made on first use and never carried over a fork.

A blocking client for jobs and threads, and one for each event loop. TLS trusts the pinned certificate file and nothing
else; the environment's proxies and certificates count for nothing, and redirects are not followed.
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

from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm_errors import HsmMisconfigured, HsmThrottled

#: Of one event loop, and of all threads together: the device's handshakes are slow, its signatures one by one.
CONNECTIONS: Final = 8
#: Requests of one event loop that may wait for a connection.
WAITING: Final = 512
_LIMITS: Final = httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=30.0)
_HEADERS: Final = {"User-Agent": "keycast", "Accept-Encoding": "identity"}


class NetHsmLoopClient:
    """What one event loop talks to the device through: as many requests at once as it has connections."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.client = httpx.AsyncClient(
            verify=context, limits=_LIMITS, headers=_HEADERS, trust_env=False, follow_redirects=False
        )
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


_lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, NetHsmLoopClient] = weakref.WeakKeyDictionary()
_blocking: list[httpx.Client] = []
_lock = threading.Lock()


async def loop_client(config: NetHsmConfig) -> NetHsmLoopClient:
    """The lane of the running event loop. Raises HsmMisconfigured when the pinned certificate cannot be read."""
    loop = asyncio.get_running_loop()
    found = _lanes.get(loop)
    if found is None:
        context = await asyncio.to_thread(_context, config.ca_file)
        found = _lanes.get(loop) or _lanes.setdefault(loop, NetHsmLoopClient(context))
    return found


def blocking_client(config: NetHsmConfig) -> httpx.Client:
    """The client for jobs and threads; it is thread-safe. Raises HsmMisconfigured like ``loop_client``."""
    with _lock:
        if not _blocking:
            context = _context(config.ca_file)
            _blocking.append(
                httpx.Client(verify=context, limits=_LIMITS, headers=_HEADERS, trust_env=False, follow_redirects=False)
            )
        return _blocking[0]


async def close() -> None:
    """Close what the running event loop has open."""
    found = _lanes.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.client.aclose()


def reset() -> None:
    """Forget every client, so that the next use reads the settings again."""
    with _lock:
        for client in _blocking:
            client.close()
        _blocking.clear()
    _lanes.clear()


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the device's own certificate may be the one pinned
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise HsmMisconfigured("The HSM's certificate file cannot be read on this server.") from None
    return context


def _after_fork() -> None:
    global _lock, _lanes  # noqa: PLW0603 -- neither a lock held nor a connection made before the fork is of use
    _lock = threading.Lock()
    _lanes = weakref.WeakKeyDictionary()
    _blocking.clear()


os.register_at_fork(after_in_child=_after_fork)
