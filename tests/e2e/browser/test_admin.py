"""The staff admin in a real browser: in by a second factor, no page complains, a key is locked for a reason."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.authenticator import unused_code
from tests.e2e.browser.conftest import PHONE
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(180)]

LISTS = (
    *("accounts/tenant/", "accounts/user/", "keys/personalkey/", "bunker/connection/"),
    *("bunker/workerseat/", "bunker/shardlease/", "audit/auditrow/", "audit/auditchain/"),
)


def sign_in_as_operator(page: Page, server: LiveServer) -> None:
    page.goto(server.admin_url)
    page.get_by_label("Email").fill(server.operator["email"])
    page.get_by_label("Password").fill(server.operator["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.locator("input[name=code]").fill(unused_code(server.operator["totp_secret"]))
    page.locator("main button[type=submit]").first.click()
    page.wait_for_url(server.admin_url)


def fits(page: Page) -> bool:
    """Nothing sticks out to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_staff_see_every_page_and_lock_a_key_for_a_reason(page: Page, keycast_server: LiveServer) -> None:
    key, _ = keycast_server.create_key("Admin test")
    sign_in_as_operator(page, keycast_server)
    expect(page.get_by_role("heading", name="Keys by mode and state")).to_be_visible()
    for scheme, size in (("light", {"width": 1200, "height": 800}), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.goto(keycast_server.admin_url)
        assert fits(page)
        for path in LISTS:
            page.goto(keycast_server.admin_url + path)
            page.locator("#result_list tbody a").first.click()
            expect(page.locator("#content-main")).to_be_visible()
            assert fits(page), path
    page.set_viewport_size({"width": 1200, "height": 800})
    page.goto(f"{keycast_server.admin_url}keys/personalkey/?q={key}")
    page.locator("#result_list tbody a").first.click()
    page.get_by_role("link", name="Lock", exact=True).click()
    page.get_by_label("Reason").fill("a drill")
    page.get_by_role("button", name="Lock").click()
    expect(page.get_by_text("Done: lock")).to_be_visible()
    page.goto(f"{keycast_server.admin_url}audit/auditrow/?q={key}")
    page.get_by_role("link", name="Key locked").first.click()
    expect(page.get_by_text("a drill")).to_be_visible()
