"""A tenant's settings in a real browser, at every size and theme: readable, reachable, and they do what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.conftest import sign_in
from tests.e2e.browser.test_every_page import Walker, confirm_identity, walker  # noqa: F401 -- a fixture
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(240)]

PAGES = ("", "look/", "registration/", "host-names/", "keys/", "policies/", "relays/")


@pytest.fixture
def few(keycast_server: LiveServer) -> Iterator[None]:
    """Little room in the tenant, so that the page shows it; taken back, because other tests make people there."""
    keycast_server.manage("tenant", "quotas", "demo", "--set", "members=2", "--set", "keys=5")
    yield
    keycast_server.manage("tenant", "quotas", "demo", "--set", "members=default", "--set", "keys=default")


@pytest.mark.usefixtures("few")
def test_settings_are_seen_changed_and_refused(walker: Walker, keycast_server: LiveServer) -> None:  # noqa: F811
    page = walker.page
    sign_in(page, keycast_server)
    confirm_identity(page, keycast_server)
    for path in PAGES:
        walker.visit(f"/settings/{path}")

    host = f"a-rather-long-name.keys.{walker.label}.example.org"
    page.goto("/settings/host-names/")
    page.get_by_role("textbox", name="Host name").fill(host)
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text(f"_keycast.{host}")).to_be_visible()
    walker.look("host name to prove")
    page.get_by_role("link", name="Give it up").click()
    walker.look("host name removed")
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("is removed")).to_be_visible()

    page.goto("/settings/relays/")
    page.get_by_label("Relays of our own").fill("wss://10.0.0.1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("is not the address of a public relay")).to_be_visible()
    walker.look("relay refused")

    page.goto("/settings/look/")
    page.get_by_label("Use a colour of our own").check()
    page.locator("input[type=color]").fill("#8e24aa")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    walker.look("in another colour")
    page.goto("/keys/")
    walker.look("keys in another colour")
    walker.conclude()
