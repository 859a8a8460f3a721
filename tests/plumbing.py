"""Which tests run, and that a missing tool is never a quiet pass where everything is asked for.

``KEYCAST_TEST_ALL=1`` runs the tests marked slow as well, and turns a skip of a test that drives npm's clients,
Chromium or SoftHSM2 into a failure. ``KEYCAST_TEST_SIGNER=remote`` has the tests ask a signer process
(tests/conftest.py); those marked opens_keys look at what is open in their own process, and are left out then.
``KEYCAST_TEST_ONLY=database`` leaves out what is the same on every database: CI runs everything on SQLite, and the
rest on PostgreSQL as well.
``KEYCAST_TEST_ONLY=fast`` (``make test-fast``) leaves out what waits for processes, disks and clocks.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUN_ALL = os.environ.get("KEYCAST_TEST_ALL") == "1"
SIGNS_ELSEWHERE = os.environ.get("KEYCAST_TEST_SIGNER") == "remote"
LONG_VALUE = 20
NEEDS = ("needs_node", "needs_browser", "needs_softhsm")
ONLY = os.environ.get("KEYCAST_TEST_ONLY", "")
TESTS = Path(__file__).parent
USES_DATABASE = {"db", "transactional_db", "django_db_setup"}
SERVERS_ON_A_DATABASE = ("e2e/test_processes_apart.py",)
"""Tests that use no database themselves, of servers that do: the shape that is run on PostgreSQL alone."""
PAGE = "pages: what they ask is in selectors and services, and a walk opens all of them"
SAME_ON_EVERY_DATABASE = {
    "accounts/signin": PAGE,
    "accounts/test_hosts_on_the_wire.py": "names of hosts, before a row is read",
    "accounts/test_permissions.py": "a table in code",
    "bench": "how something is measured",
    "e2e": "pages and clients, from outside",
    "keycast/console": PAGE,
    "keys/cosigner": "the co-signer keeps a file of its own",
    "keys/hsm/google/test_emulator.py": "a stand-in that keeps a file",
    "keys/hsm/google/test_failure_modes.py": "answers of another service",
    "keys/hsm/nethsm/test_emulator.py": "a stand-in that keeps nothing",
    "keys/signing/isolated": "a process that has no database",
    "keys/split/conversion/test_killed.py::test_the_co_signer_killed_while_a_key_is_converted_leaves_it_usable": (
        "the co-signer keeps a file of its own; our side is killed at each step of its own on every database"
    ),
    "portal": PAGE,
    "security/test_account_takeover.py": PAGE,
    "security/test_admin_lookups.py": "what an address may ask for, before the database is asked",
    "security/test_floods.py": "bounds in memory",
    "security/test_policy_paths.py": "rules in memory",
    "security/test_staff_cannot_sign.py": "what no page offers",
}
"""Folders, files and tests, each with why. They are run once, on SQLite."""
ALL_THE_SAME_DIFFERENT = {
    "keycast/console/test_access.py::test_pages_are_under_the_strict_policy_and_have_nothing_inline": "opens all pages",
    "keycast/console/test_audit.py": "searches and filters",
    "keycast/console/test_keys.py": "lists, searches and filters",
    "keycast/console/test_many_keys.py": "how the planner reads a long list",
    "keycast/console/test_pages.py": "lists, searches and filters",
    "keys/cosigner/test_rotation.py": "rows that two processes hold",
    "keys/cosigner/test_states.py": "rows that two processes hold",
    "portal/test_audit.py": "searches and filters",
    "portal/test_sweep.py": "opens all pages, and posts to them",
}
"""Among those, what is run on every database."""
LONGEST_FIRST = ("slow", "needs_browser", "needs_node")
NOT_FAST = {
    *("bench", "bunker/hostile", "bunker/relays/test_hostile_relay.py", "bunker/worker", "e2e", "security"),
    *("keycast/console", "keycast/nostr/client/test_command.py", "keycast/operations/backup"),
    *("deployment/test_install.py", "keycast/test_audit_of_the_repository.py", "keycast/test_command_line.py"),
    *("keycast/test_environment.py", "keycast/test_production.py"),
    *(
        "keys/cosigner",
        "keys/hsm",
        "keys/importing/test_command.py",
        "keys/rotation",
        "keys/signing/isolated",
        "keys/split",
        "keys/test_memory.py",
    ),
    "portal/test_sweep.py",
}
"""Files and folders that start processes, wait for them, or walk through every page."""


def leave_out_slow_tests(items: list[pytest.Item]) -> None:
    if RUN_ALL:
        return
    skip = pytest.mark.skip(reason="slow: runs with KEYCAST_TEST_ALL=1")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


def leave_out_what_opens_keys_itself(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="opens keys in the test's own process")
    for item in items:
        if SIGNS_ELSEWHERE and item.get_closest_marker("opens_keys"):
            item.add_marker(skip)


def names_of(item: pytest.Item) -> set[str]:
    """What a list may call this test by: itself without its parameters, its file, the folders that it is in."""
    path = item.path.relative_to(TESTS)
    function = getattr(item, "originalname", None) or item.name
    return {f"{path}::{function}", str(path), *map(str, path.parents)}


def can_differ(item: pytest.Item) -> bool:
    """Whether a test could end otherwise on another database.

    It could if it uses one, be it through a server, unless it is of those that are the same on every database.
    """
    names = names_of(item)
    if names & {*SERVERS_ON_A_DATABASE, *ALL_THE_SAME_DIFFERENT}:
        return True
    uses = item.get_closest_marker("django_db") or USES_DATABASE & set(getattr(item, "fixturenames", ()))
    return bool(uses) and not names & SAME_ON_EVERY_DATABASE.keys()


def is_fast(item: pytest.Item) -> bool:
    """Whether a test has ended before somebody looks away: no process, no database emptied with DELETE after it."""
    uses_transactions = "transactional_db" in getattr(item, "fixturenames", ())
    for marker in item.iter_markers("django_db"):
        uses_transactions = uses_transactions or bool(marker.kwargs.get("transaction"))
    is_long = uses_transactions or any(item.get_closest_marker(name) for name in LONGEST_FIRST)
    return not is_long and not names_of(item) & NOT_FAST


CHOICES = {"database": can_differ, "fast": is_fast}


def leave_out_what_was_not_asked_for(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not ONLY:
        return
    is_wanted = CHOICES[ONLY]
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = [item for item in items if is_wanted(item)]


def start_with_long_files(items: list[pytest.Item]) -> None:
    """So that at the end no process waits for another that has only just begun with one.

    xdist keeps this order with --dist loadfile --no-loadscope-reorder alone; left to itself it begins with the files of
    the most tests, and those are the quick ones.
    """
    ranks: dict[Path, int] = {}
    for item in items:
        ranked = [rank for rank, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)]
        ranks[item.path] = min([ranks.get(item.path, len(LONGEST_FIRST)), *ranked])
    items.sort(key=lambda item: ranks[item.path])


def insist_on_tools(item: pytest.Item, report: Any) -> None:
    if RUN_ALL and report.skipped and any(item.get_closest_marker(name) for name in NEEDS):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but KEYCAST_TEST_ALL=1 asks for every test: {report.longrepr}"


class Plumbing:
    """The plugin that tests/conftest.py registers."""

    def pytest_collection_finish(self) -> None:
        """Thousands of tests and all modules are there to stay: the garbage collector need not walk through them."""
        gc.collect()
        gc.freeze()
        gc.enable()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        leave_out_slow_tests(items)
        leave_out_what_opens_keys_itself(items)
        leave_out_what_was_not_asked_for(config, items)
        start_with_long_files(items)

    def pytest_make_parametrize_id(self, val: object, argname: str) -> str | None:
        """Name long values by their argument: random ones and the time must not give each xdist worker other tests."""
        is_long = len(val) >= LONG_VALUE if isinstance(val, str | bytes) else isinstance(val, int) and val >= 2**30
        return argname if is_long else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        insist_on_tools(item, report)
        return report  # type: ignore[return-value]
