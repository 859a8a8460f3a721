"""The main path with nothing but a keyboard, and the small scripts: theme, copy, countdown, no scripts at all."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.conftest import sign_in
from tests.e2e.live import LiveServer

OUTLINE = """() => {
  const at = document.activeElement;
  return getComputedStyle(at.closest(".choice") || at).outlineStyle;
}"""

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(120)]


def focused(page: Page) -> str:
    name: str = page.evaluate(
        "() => { const at = document.activeElement;"
        " return at.getAttribute('aria-label') || at.labels?.[0]?.textContent.trim() || at.textContent.trim() }"
    )
    return " ".join(name.split())


def tab_to(page: Page, name: str, limit: int = 40) -> None:
    """Press Tab until something of this name has the focus, which must be visible."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if re.search(name, focused(page)):
            outline = page.evaluate(OUTLINE)
            assert outline != "none", f"{name} does not show its focus"
            return
    raise AssertionError(f"Tab never reached {name}")


def test_the_first_tab_skips_to_the_content(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"


def test_an_app_is_connected_and_withdrawn_without_a_mouse(page: Page, keycast_server: LiveServer) -> None:
    page.goto("/account/login/")
    tab_to(page, "Email")
    page.keyboard.type(keycast_server.user["email"])
    tab_to(page, "Password")
    page.keyboard.type(keycast_server.user["password"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/keys/")
    tab_to(page, "Connect an app")
    page.keyboard.press("Enter")
    page.wait_for_url("**/apps/connect/**")
    tab_to(page, "^Name")
    page.keyboard.type("Keyboard")
    tab_to(page, "^Social")
    page.keyboard.press("ArrowUp")
    assert focused(page).startswith("Read only")
    tab_to(page, "Get the bunker URL")
    page.keyboard.press("Enter")
    expect(page.locator("#bunker-url")).to_contain_text("bunker://")
    tab_to(page, "Done")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/apps/[0-9a-f-]{36}/$"))
    expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    tab_to(page, "Withdraw…")
    page.keyboard.press("Enter")
    page.wait_for_url("**/revoke/")
    tab_to(page, "^Withdraw$")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()


def test_the_theme_is_remembered(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)"
    page.goto("/account/login/")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    expect(page.get_by_role("button", name="Light theme")).to_be_visible()


def test_the_bunker_url_is_copied_and_its_clock_runs(page: Page, keycast_server: LiveServer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, keycast_server)
    page.goto("/apps/connect/")
    page.get_by_role("textbox", name="Name").fill("Copied")
    page.get_by_role("button", name="Get the bunker URL").click()
    expect(page.locator("time[data-countdown]")).to_have_text(re.compile(r"in \d+:\d\d minutes"))
    page.get_by_role("button", name="Copy the bunker URL").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == page.locator("#bunker-url").inner_text()


def test_everything_works_without_scripts(chromium: Browser, keycast_server: LiveServer) -> None:
    context = chromium.new_context(base_url=keycast_server.portal_url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, keycast_server)
    page.get_by_role("link", name=re.compile("Connect an app")).first.click()
    page.get_by_role("textbox", name="Name").fill("No scripts")
    page.get_by_role("button", name="Get the bunker URL").click()
    expect(page.locator("#bunker-url")).to_contain_text("bunker://")
    page.get_by_role("link", name="See whether it has connected").click()
    page.get_by_role("link", name="Withdraw…").click()
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
    context.close()
