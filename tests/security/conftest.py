"""The worker of the bunker's tests, for attacks on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.bunker.conftest import home, start_worker, worker

__all__ = ["home", "start_worker", "worker"]


@pytest.fixture(autouse=True)
def _let_go_of_connections() -> Iterator[None]:
    """A worker's threads end with it; their connections go with the garbage, and PostgreSQL has only so many."""
    yield
    gc.collect()
