"""The one thread of this process that calls a PKCS#11 module: what it is given, it does one after the other.

The library promises the module that calls come one at a time (keys.hsm.pkcs11.library), and most tokens work one at a
time anyway. A module may hang for ever in C; nothing can end that. Then nobody waits for it longer than their own time,
and who comes later is refused at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from keys.hsm.calling import TOTAL_SECONDS
from keys.hsm_errors import HsmThrottled, HsmUnavailable

T = TypeVar("T")
WAITING: Final = 512
"""Calls that may wait for their turn."""


class ModuleThread:
    """Made on first use; a daemon, so that a module that hangs does not keep the process from ending."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began: float | None = None

    @property
    def is_hanging(self) -> bool:
        """Whether the present call takes longer than anybody waits for one."""
        began = self._began
        return began is not None and time.monotonic() - began > TOTAL_SECONDS

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have the thread do it. One that nobody waits for any more is left out; so cancel what you give up.

        Raises HsmThrottled when too many wait already, HsmUnavailable while the module hangs.
        """
        if self.is_hanging:
            raise HsmUnavailable
        if self._jobs.qsize() >= WAITING:
            raise HsmThrottled
        future: Future[T] = Future()
        self._jobs.put((future, work))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pkcs11", daemon=True)
                self._thread.start()
        return future

    def _run(self) -> None:
        while True:
            future, work = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            self._began = time.monotonic()
            try:
                result = work()
            except Exception as error:  # loop top (module thread): whoever waits for the call gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                self._began = None
            del future, work  # or what it holds stays until the next call
