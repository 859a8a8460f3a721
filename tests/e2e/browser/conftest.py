"""Debian's Chromium, driven by Playwright, with every complaint of the browser kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.live import LiveServer

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1200, "height": 800}
PHONE = {"width": 360, "height": 740}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM.exists() or os.environ.get("KEYCAST_TEST_ALL") == "1":
        return
    for item in items:
        if item.get_closest_marker("needs_browser"):
            item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a file. Playwright runs an event loop in this thread while it lives, and other tests want theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


class Watched:
    """A page, and what its console said against it: errors, warnings, violations of the content security policy."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        expected = re.search(r"status of (404|403|409|422)", text)
        if kind in {"error", "warning"} and not expected:
            self.complaints.append(f"{self.page.url}: {text}")


@pytest.fixture
def context(chromium: Browser, keycast_server: LiveServer) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=keycast_server.portal_url, viewport=DESKTOP)
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that must end its test without a complaint from the browser."""
    watched = Watched(context.new_page())
    yield watched.page
    assert watched.complaints == []


def sign_in(page: Page, server: LiveServer) -> None:
    """As the demo's user, by password."""
    page.goto("/account/login/")
    page.get_by_label("Email").fill(server.user["email"])
    page.get_by_label("Password").fill(server.user["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/keys/")
