"""A seam for tests that kill a process with SIGKILL at a named step. Inert unless KEYCAST_ENVIRONMENT is ``test``.

``KEYCAST_TEST_CRASH_AT=after-sign`` dies the first time that step is reached, ``after-sign:3`` the third time. The
environment is read and not the settings, because the co-signer is killed too. A test that asks for a step checks that
the process died of it.
"""

from __future__ import annotations

import os
import signal
from typing import Final

_IS_TEST: Final = os.environ.get("KEYCAST_ENVIRONMENT") == "test"


def _read(wanted: str) -> tuple[str, int] | None:
    if not wanted or not _IS_TEST:
        return None
    name, _, count = wanted.partition(":")
    return name, int(count or 1)


_at = _read(os.environ.get("KEYCAST_TEST_CRASH_AT", ""))
_reached = 0


def arm(wanted: str) -> None:
    """Choose the step after the import, in a test's forked process."""
    global _at  # noqa: PLW0603
    _at = _read(wanted)


def is_armed() -> bool:
    """True when some step has been chosen."""
    return _at is not None


def point(name: str) -> None:
    """Die here and now if this is the step, and the time, that a test has chosen."""
    global _reached  # noqa: PLW0603
    if _at is not None and _at[0] == name:
        _reached += 1
        if _reached >= _at[1]:
            os.kill(os.getpid(), signal.SIGKILL)
