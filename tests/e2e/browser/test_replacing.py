"""A key is replaced by a new one, and an app's signer by another, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.conftest import PHONE, sign_in
from tests.e2e.browser.test_every_page import Walker, confirm_identity
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def walker(chromium: Browser, keycast_server: LiveServer) -> Iterator[Walker]:
    """A phone, in the dark: the pages about these things were looked at in the other windows, too."""
    context = chromium.new_context(base_url=keycast_server.portal_url, viewport=PHONE, color_scheme="dark")
    context.set_default_timeout(15_000)
    yield Walker(context.new_page(), "phone-dark")
    context.close()


def new_key(page: Page, name: str) -> str:
    """Make a key; the address of its page."""
    page.goto("/keys/new/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the key").click()
    page.wait_for_url("**/keys/*-*/")
    return page.url


def test_a_key_is_replaced_and_both_say_so(walker: Walker, keycast_server: LiveServer) -> None:
    page = walker.page
    sign_in(page, keycast_server)
    confirm_identity(page, keycast_server)
    key = new_key(page, f"Replaced on {walker.label}")
    walker.visit(f"{key}replace/")
    page.get_by_label("I understand").check()
    page.get_by_role("button", name="Replace the key").click()
    page.wait_for_url(key)
    for _ in range(60):
        page.goto(key)
        if page.get_by_text("This key still reads").is_visible():
            break
        page.wait_for_timeout(500)
    expect(page.get_by_text("This key still reads")).to_be_visible()
    walker.look("replaced key")
    page.locator(".alert a").first.click()
    expect(page.get_by_text("took the place of")).to_be_visible()
    walker.look("successor")
    walker.conclude()


def test_an_app_is_told_to_connect_again(walker: Walker, keycast_server: LiveServer) -> None:
    app = f"App on an old signer, {walker.label}"
    url = keycast_server.bunker_url(policy="social", name=app)
    keycast_server.manage("nip46", "sign", "--bunker", url, "--content", "hello")
    keycast_server.manage("rotate_transport_keys", "--all", "--grace-days", "14")
    page = walker.page
    sign_in(page, keycast_server)
    page.goto("/apps/")
    walker.look("apps to be connected again")
    page.get_by_role("link", name=app).click()
    expect(page.get_by_text("was replaced")).to_be_visible()
    walker.look("app to be connected again")
    walker.conclude()
