"""How this process has its token do something: from an event loop or from a thread, with tries and times bounded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, TypeVar

from keys.hsm.calling import run, run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.pkcs11.calling import course
from keys.hsm.pkcs11.config import Pkcs11Config
from keys.hsm.pkcs11.thread import ModuleThread
from keys.hsm.pkcs11.token import Token
from keys.hsm_errors import HsmUnavailable

T = TypeVar("T")


class Pkcs11Client:
    """One for a process and a configuration: with ``client``. Every method raises keys.hsm_errors."""

    def __init__(self, config: Pkcs11Config) -> None:
        self.config = config
        self._token = Token(config)

    def submit(self, work: Callable[[Token, Any], T], *, manages: bool = False) -> Future[T]:
        """``work(token, session)`` on the module's thread."""
        self.config.require()
        return module_thread().submit(partial(self._token.do, partial(work, self._token), manages=manages))

    async def call(self, breaker: Breaker, what: str, work: Callable[[Token, Any], T]) -> T:
        """The result, within 5 s; the event loop goes on meanwhile."""

        async def attempt(_: None, seconds: float) -> T:
            return await asyncio.wait_for(asyncio.wrap_future(self.submit(work)), seconds)

        return await run(course(breaker, what), attempt, lambda seconds: nullcontext())

    def call_blocking(self, breaker: Breaker, what: str, work: Callable[[Token, Any], T], *, manages: bool = True) -> T:
        """The result, from a thread or a job, within 5 s."""

        def attempt(seconds: float) -> T:
            future = self.submit(work, manages=manages)
            try:
                return future.result(seconds)
            except TimeoutError:
                future.cancel()
                raise

        return run_blocking(course(breaker, what), attempt)

    def end(self) -> None:
        """Log out, when the module's thread gets to it."""
        with contextlib.suppress(HsmUnavailable):
            module_thread().submit(self._token.close)


_clients: dict[Pkcs11Config, Pkcs11Client] = {}
_thread = ModuleThread()
_lock = threading.Lock()


def module_thread() -> ModuleThread:
    """The one of this process, whatever the configuration: a login and its end hold for all sessions of a process."""
    return _thread


def client() -> Pkcs11Client:
    """The client of the settings."""
    config: Final = Pkcs11Config.from_settings()
    with _lock:
        if config not in _clients:
            _clients[config] = Pkcs11Client(config)
        return _clients[config]


def reset() -> None:
    """Forget every client, so that the next use begins anew."""
    with _lock:
        for each in _clients.values():
            each.end()
        _clients.clear()


def _after_fork() -> None:
    global _lock, _thread
    _lock, _thread = threading.Lock(), ModuleThread()
    _clients.clear()


os.register_at_fork(after_in_child=_after_fork)
