"""Which tests run, and that a missing tool is never a quiet pass where everything is asked for.

``KEYCAST_TEST_ALL=1`` runs the tests marked slow as well, and turns a skip of a test that drives npm's clients or
Chromium into a failure. ``KEYCAST_TEST_SIGNER=remote`` has the tests ask a signer process (tests/conftest.py); those
marked opens_keys look at what is open in their own process, and are left out then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

RUN_ALL = os.environ.get("KEYCAST_TEST_ALL") == "1"
SIGNS_ELSEWHERE = os.environ.get("KEYCAST_TEST_SIGNER") == "remote"
LONG_VALUE = 20
NEEDS = ("needs_node", "needs_browser")


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


def insist_on_tools(item: pytest.Item, report: Any) -> None:
    if RUN_ALL and report.skipped and any(item.get_closest_marker(name) for name in NEEDS):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but KEYCAST_TEST_ALL=1 asks for every test: {report.longrepr}"


class Plumbing:
    """The plugin that tests/conftest.py registers."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        leave_out_slow_tests(items)
        leave_out_what_opens_keys_itself(items)

    def pytest_make_parametrize_id(self, val: object, argname: str) -> str | None:
        """Name long values by their argument: random ones and the time must not give each xdist worker other tests."""
        is_long = len(val) >= LONG_VALUE if isinstance(val, str | bytes) else isinstance(val, int) and val >= 2**30
        return argname if is_long else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        insist_on_tools(item, report)
        return report  # type: ignore[return-value]
