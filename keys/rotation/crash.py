"""A seam for tests that kill a process with SIGKILL at a named step. Inert unless KEYCAST_ENVIRONMENT is ``test``.

``KEYCAST_TEST_ROTATION_CRASH_AT=stored:3`` dies when the step ``stored`` is reached for the third time.
"""

from __future__ import annotations

import os
import signal
from typing import Final

_IS_TEST: Final = os.environ.get("KEYCAST_ENVIRONMENT") == "test"
_at = os.environ.get("KEYCAST_TEST_ROTATION_CRASH_AT", "") if _IS_TEST else ""
_seen: dict[str, int] = {}


def arm(step: str) -> None:
    """Choose the step in this process; for a test's own processes."""
    global _at  # noqa: PLW0603 -- armed once, after a fork
    _at = step if _IS_TEST else ""


def point(name: str) -> None:
    """Die here and now if this is the step, and the time, that a test has chosen."""
    if not _at:
        return
    _seen[name] = _seen.get(name, 0) + 1
    if f"{name}:{_seen[name]}" == (_at if ":" in _at else f"{_at}:1"):
        os.kill(os.getpid(), signal.SIGKILL)
