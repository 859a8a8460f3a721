"""A seam for tests that kill a process with SIGKILL at a named step. Inert unless KEYCAST_ENVIRONMENT is ``test``.

``KEYCAST_TEST_COSIGNING_CRASH_AT=after-create`` dies when that step is reached.
"""

from __future__ import annotations

import os
import signal
from typing import Final

_at: Final = (
    os.environ.get("KEYCAST_TEST_COSIGNING_CRASH_AT", "") if os.environ.get("KEYCAST_ENVIRONMENT") == "test" else ""
)


def point(name: str) -> None:
    """Die here and now if this is the step that a test has chosen."""
    if _at and _at == name:
        os.kill(os.getpid(), signal.SIGKILL)
