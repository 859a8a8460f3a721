"""The worker of the bunker's tests, for attacks on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.bunker.conftest import home, start_worker, worker

__all__ = ["home", "start_worker", "worker"]


@pytest.fixture(autouse=True)
def _let_go_of_connections(request: pytest.FixtureRequest) -> Iterator[None]:
    """A worker's threads end with it; their connections go with the garbage, and PostgreSQL has only so many."""
    yield
    if connection.vendor == "postgresql" and {"worker", "start_worker"} & set(request.fixturenames):
        gc.collect()
