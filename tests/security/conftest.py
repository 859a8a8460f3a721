"""The worker of the bunker's tests, for attacks on it."""

from __future__ import annotations

from tests.bunker.conftest import home, start_worker, worker

__all__ = ["home", "start_worker", "worker"]
