"""What a process remembers of what happened in it begins anew with each test.

A breaker that an earlier test opened, an answer of a signer that is kept for a second, a damaged key that was reported
a moment ago: a server is right to remember them, and the next test would find them. What is registered when Django
starts (health checks, kinds of rotation, pages) stays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import pytest


def _forget_status(module: Any) -> None:
    """Callers hold these objects for as long as they live, so each is emptied where it is."""
    for status in module._statuses.values():
        status.good_at = status.bad_at = 0.0
        status.error = ""


RESET: Final[dict[str, Callable[[Any], None]]] = {
    "keycast.base.service_status": _forget_status,
    "keycast.audit.journal_writer": lambda module: module.reset_check(),
    # Nobody calls jobs overdue in a process that has just started, and tests run for many minutes.
    "keycast.operations.heartbeats": lambda module: setattr(module, "PROCESS_STARTED", time.time()),
    "keys.lifecycle.damage": lambda module: module._alerted_at.clear(),
    "keys.signing.exporting": lambda module: module._left.clear(),
    "keys.signing.isolated.access": lambda module: module._seen.clear(),
}
"""How each module that remembers forgets; one that was not imported has nothing to forget."""


def reset() -> None:
    for name, forget in RESET.items():
        if module := sys.modules.get(name):
            forget(module)


class ProcessState:
    """The plugin that tests/conftest.py registers."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        reset()
