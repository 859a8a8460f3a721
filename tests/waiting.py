"""Waiting until something holds that another thread or process brings about.

What is looked at again and again may never hold. The bound is against hanging and says nothing of speed: it is far
above what a busy machine takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONG = 90.0
"""Seconds after which nobody expects it any more."""


def until(
    condition: Callable[[], T],
    what: Callable[[], str] | str = "it did not come true",
    *,
    pause: float = 0.02,
    seconds: float = LONG,
) -> T:
    """What ``condition`` gives, once that is true; asked again after ``pause`` seconds.

    Raises TimeoutError with ``what`` there was, after a long time.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what if isinstance(what, str) else what())
        time.sleep(pause)
    return found


async def eventually(condition: Callable[[], T], pause: float = 0.005) -> T:
    """The same in an event loop. Raises TimeoutError."""
    async with asyncio.timeout(LONG):
        while not (found := condition()):
            await asyncio.sleep(pause)
        return found
