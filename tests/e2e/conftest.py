"""One live server for all end-to-end tests of a process, and a relay that is not ours where Node.js is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.live import LiveServer, live

CLIENTS = Path(__file__).parent / "clients"


def node_is_missing() -> str:
    """Why the programs in tests/e2e/clients cannot run; empty when they can."""
    if shutil.which("node") is None:
        return "Node.js is not installed"
    installed = ("node_modules/nostr-tools", "libraries/node_modules/@welshman/signer")
    if not all((CLIENTS / folder).is_dir() for folder in installed):
        return f"run: npm ci --ignore-scripts --prefix {CLIENTS}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = node_is_missing()
    if reason and os.environ.get("KEYCAST_TEST_ALL") != "1":
        for item in items:
            if item.get_closest_marker("needs_node"):
                item.add_marker(pytest.mark.skip(reason=reason))


@contextmanager
def relay_from_npm() -> Iterator[str]:
    """The address of a relay that is not ours, on the loopback."""
    process = subprocess.Popen(
        ["node", "relay.mjs"], cwd=CLIENTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def other_relay() -> Iterator[str]:
    """The address of a relay from npm; empty without Node.js (needs_node tests are skipped then)."""
    if node_is_missing():
        assert os.environ.get("KEYCAST_TEST_ALL") != "1", node_is_missing()
        yield ""
        return
    with relay_from_npm() as url:
        yield url


def reaching(other_relay: str) -> dict[str, str]:
    """The settings of a server that uses this relay, too."""
    return {"KEYCAST_RELAYS": other_relay, "KEYCAST_RELAY_ALLOW_PRIVATE": "127.0.0.1"} if other_relay else {}


@pytest.fixture(scope="session")
def keycast_server(other_relay: str) -> Iterator[LiveServer]:
    """``manage.py serve`` with everything in it (tests.e2e.live). ``live_server`` is pytest-django's, another thing."""
    with live(reaching(other_relay)) as server:
        yield server
