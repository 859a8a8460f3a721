"""A seam for tests that kill the worker with SIGKILL at a named step. Inert unless KEYCAST_ENVIRONMENT is ``test``.

``KEYCAST_TEST_CRASH_AT=after-sign`` dies the first time that step is reached, ``after-sign:3`` the third time.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from django.conf import settings

POINTS: Final = (
    "before-claim",
    "before-claim-commit",
    "after-claim-commit",
    "after-claim",
    "after-sign",
    "after-encrypt",
    "before-result",
    "before-result-commit",
    "after-result-commit",
    "before-publish",
    "after-publish",
    "before-published-commit",
)


def _read(wanted: str) -> tuple[str, int] | None:
    if not wanted or settings.ENVIRONMENT != "test":
        return None
    name, _, count = wanted.partition(":")
    if name not in POINTS:
        raise ValueError(f"KEYCAST_TEST_CRASH_AT: no step {name!r}; there are {', '.join(POINTS)}.")
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
    """Die here and now if this is the step that a test has chosen."""
    global _reached  # noqa: PLW0603
    if _at is not None and _at[0] == name:
        _reached += 1
        if _reached >= _at[1]:
            os.kill(os.getpid(), signal.SIGKILL)
