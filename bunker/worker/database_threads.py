"""Database work beside the event loop: threads of the worker's own, so that nobody's slow query delays a heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")


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
        for _ in range(self._threads):
            self._pool.submit(connection.close)
        self._pool.shutdown(wait=False)


def _hygienic(work: Callable[[], T]) -> T:
    try:
        return work()
    except (OperationalError, InterfaceError):
        connection.close()
        raise
