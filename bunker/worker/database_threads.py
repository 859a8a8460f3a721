"""Database work beside the event loop: threads of the worker's own, so that nobody's slow query delays a heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

CLOSING_SECONDS = 5.0


class DatabaseThreads:
    """Runs functions that query. A broken connection is closed, so that the next call opens another."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads

    async def __call__(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in a thread and give its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _hygienic, work)

    def close(self) -> None:
        """End the threads once they are idle, and their connections with them."""
        everyone = threading.Barrier(self._threads)
        for _ in range(self._threads):
            self._pool.submit(_close_connection, everyone)
        self._pool.shutdown(wait=False)


def _close_connection(everyone: threading.Barrier) -> None:
    """Close this thread's connection, and wait for the others: a thread that took two such errands would spare one."""
    connection.close()
    with contextlib.suppress(threading.BrokenBarrierError):  # one is still held up by a query
        everyone.wait(CLOSING_SECONDS)


def _hygienic(work: Callable[[], T]) -> T:
    try:
        return work()
    except (OperationalError, InterfaceError):
        connection.close()
        raise
