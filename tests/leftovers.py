"""No test leaves anything behind: a worker's thread, a child process, a lease, another time, a stand-in.

What is left behind meets the next test of this process, which then fails without a fault of its own. So the test that
left it fails. What fixtures of a wider scope than one test start stays, and is theirs to end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pytest_django.plugin import blocking_manager_key

GRACE = 5.0
"""Seconds for what was told to end: threads finish what they do, and a killed child is waited for by its parent."""
WORKER_THREADS = "bunker-"
USES_DATABASE = {"db", "transactional_db", "django_db_reset_sequences"}


_may_stay: set[int] = set()


def may_stay(process_id: int) -> None:
    """A child that a test started anew in place of one that a fixture of a wider scope ends."""
    _may_stay.add(process_id)


def child_processes() -> dict[int, str]:
    """The children of this process that live, by id, with their command lines."""
    found = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            for pid in listing.read_text().split():
                process = Path("/proc", pid)
                if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(pid)] = process.joinpath("cmdline").read_text().replace("\0", " ").strip()
        except OSError:  # a thread or a child that ended meanwhile
            continue
    return found


def worker_threads() -> dict[int, str]:
    """Threads of bunker workers in this process."""
    return {
        thread.ident or 0: thread.name for thread in threading.enumerate() if thread.name.startswith(WORKER_THREADS)
    }


def running() -> dict[int, str]:
    """Everything that could outlive a test, by an id of its own kind."""
    return worker_threads() | child_processes()


def seats_and_leases() -> list[str]:
    """Which workers the database still knows."""
    from bunker.models import ShardLease, WorkerSeat  # needs the settings

    leases = ShardLease.objects.exclude(owner="").values_list("owner", flat=True).distinct().order_by()
    return [f"seat of {seat.id} (process {seat.pid})" for seat in WorkerSeat.objects.all()] + [
        f"leases of {owner}" for owner in leases
    ]


def services_with_a_stand_in() -> list[str]:
    """Services of this process that were made while something else stood in for the key-encryption key providers."""
    from keys.signing import runtime  # needs the settings
    from keys.signing.kms import registry

    made = [
        service() for service in (runtime.signing_service, runtime.transport_service) if service.cache_info().currsize
    ]
    parts = [part for service in made for part in (service, *getattr(service, "_signers", {}).values())]
    vaults = [part._vault for part in parts if hasattr(part, "_vault")]
    return [
        f"a service that asks {vault._providers} for key-encryption keys"
        for vault in vaults
        if vault._providers is not registry.provider
    ]


def uses_database(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("django_db") or USES_DATABASE & set(getattr(item, "fixturenames", ())))


class Leftovers:
    """The plugin that tests/conftest.py registers."""

    def __init__(self) -> None:
        self._expected: dict[int, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a fixture of a class, a module or the session starts may stay until that ends."""
        if fixturedef.scope == "function":
            return (yield)
        before = running()
        try:
            return (yield)
        finally:
            self._expected |= {ident: name for ident, name in running().items() if ident not in before}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """After all fixtures of the test have ended; after the last test there is no database any more."""
        was_set_up = bool(getattr(item, "funcargs", None))  # a test that was skipped has made none
        result = yield
        left = self._left(item, is_database_there=uses_database(item) and was_set_up and nextitem is not None)
        if left:
            pytest.fail("left behind: " + "; ".join(left), pytrace=False)
        return result

    def _left(self, item: pytest.Item, *, is_database_there: bool) -> list[str]:
        deadline = time.monotonic() + GRACE
        while (still := self._unexpected()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._expected |= still  # said once
        left = [f"{name} ({ident})" for ident, name in still.items()]
        if time_machine.escape_hatch.is_travelling():
            left.append("another time")
        left += services_with_a_stand_in()
        if is_database_there:
            with item.config.stash[blocking_manager_key].unblock():
                left += seats_and_leases()
        return left

    def _unexpected(self) -> dict[int, str]:
        return {
            ident: name for ident, name in running().items() if ident not in self._expected and ident not in _may_stay
        }
