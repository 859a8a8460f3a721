"""A fresh proof in a real browser: by passkey in the portal, by authenticator app in the admin, by two persons."""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.authenticator import unused_code
from tests.e2e.browser.conftest import PHONE
from tests.e2e.browser.test_admin import fits
from tests.e2e.browser.test_first_day import make_key, sign_up
from tests.e2e.browser.test_second_locks import prove, with_virtual_authenticator
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(240)]


def test_a_passkey_is_asked_for_before_a_key_is_destroyed(page: Page, keycast_server: LiveServer) -> None:
    with_virtual_authenticator(page)
    sign_up(page, keycast_server, f"step-{secrets.token_hex(4)}@example.org")
    page.goto("/account/2fa/webauthn/add/")
    prove(page)
    page.get_by_label("Name").fill("This laptop")
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add the passkey").click()
    page.wait_for_url(lambda url: not url.endswith("/add/"))
    page.get_by_role("button", name="Sign out").click()
    page.goto("/account/login/?next=/keys/")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/keys/")
    make_key(page)
    page.goto(f"{page.url}destroy/")
    page.wait_for_url("**/webauthn/reauthenticate/**")
    expect(page.get_by_label("Password")).to_have_count(0)
    page.get_by_role("button", name="Use a security key").click()
    page.wait_for_url("**/destroy/")


class Colleague:
    """One of the staff at their own browser."""

    def __init__(self, chromium: Browser, server: LiveServer, who: dict[str, str]) -> None:
        self.who, self.server = who, server
        self.page = chromium.new_context().new_page()
        self.page.set_default_timeout(30_000)
        self.page.goto(server.admin_url)
        self.page.get_by_label("Email").fill(who["email"])
        self.page.get_by_label("Password").fill(who["password"])
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.enter_code()
        self.page.wait_for_url(server.admin_url)

    def enter_code(self) -> None:
        self.page.locator("input[name=code]").fill(unused_code(self.who["totp_secret"]))
        self.page.locator("main button[type=submit]").first.click()

    def open(self, path: str) -> None:
        self.page.goto(self.server.admin_url + path)

    def confirm(self, reason: str) -> None:
        """Give the reason, prove who one is, and find the reason still there."""
        self.page.get_by_label("Reason").fill(reason)
        self.page.locator("form.action-form input[type=submit]").click()
        self.page.wait_for_url("**/reauthenticate/**")
        self.enter_code()
        expect(self.page.get_by_text("Nothing has been done yet")).to_be_visible()
        expect(self.page.get_by_label("Reason")).to_have_value(reason)
        self.page.locator("form.action-form input[type=submit]").click()


@pytest.mark.slow
def test_two_colleagues_make_somebody_staff(chromium: Browser, keycast_server: LiveServer) -> None:
    email = f"new-{secrets.token_hex(4)}@example.org"
    keycast_server.manage("create_user", email, "--tenant", "demo")
    operator = Colleague(chromium, keycast_server, keycast_server.operator)
    operator.open(f"accounts/user/?q={email}")
    operator.page.get_by_role("link", name=email).click()
    operator.page.get_by_role("link", name="Make auditor").click()
    operator.confirm("hired")
    expect(operator.page.get_by_text("Nothing happens before another person approves")).to_be_visible()

    officer = Colleague(chromium, keycast_server, keycast_server.officer)
    officer.page.get_by_role("link", name="to decide").click()
    officer.page.get_by_role("link", name=email).click()
    for scheme, size in (("light", {"width": 1200, "height": 800}), ("dark", PHONE)):
        officer.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        officer.page.set_viewport_size(size)  # type: ignore[arg-type]
        assert fits(officer.page)
    officer.page.get_by_role("link", name="Approve", exact=True).click()
    officer.confirm("spoke to them")
    expect(officer.page.get_by_text("Done: approve")).to_be_visible()
    assert f'"{email}"' in keycast_server.manage("staff", "--json", "list")
