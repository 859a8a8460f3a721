"""The dashboard in a real browser: it keeps itself fresh, says when it cannot, and fits a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import PHONE
from tests.e2e.browser.test_admin import fits, sign_in_as_operator
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(180)]

SOON = 30_000
"""Milliseconds: a few rounds of asking, on a busy machine."""
SIGNATURES = "#sum-signatures strong"


def sign_once(server: LiveServer) -> None:
    server.manage("nip46", "sign", "--bunker", server.bunker_url(), "--content", "seen on the dashboard", "--json")


def signatures(page: Page) -> int:
    return int(page.locator(SIGNATURES).inner_text().replace(",", ""))


def test_a_signature_appears_without_a_reload(page: Page, keycast_server: LiveServer) -> None:
    sign_in_as_operator(page, keycast_server)
    state = page.locator("#live-state")
    expect(state).to_have_text("Live.")
    before = signatures(page)
    page.evaluate("window.wasNotReloaded = true")
    page.locator("#signatures-table summary").click() if before else None
    sign_once(keycast_server)
    expect(page.locator(SIGNATURES)).to_have_text(str(before + 1), timeout=SOON)
    assert page.evaluate("window.wasNotReloaded")
    expect(page.locator("#live-at")).to_contain_text("Updated")
    assert page.locator("figure.chart rect.first").count() > 0
    page.locator("#signatures-table summary").click() if not before else None
    before = signatures(page)
    sign_once(keycast_server)
    expect(page.locator(SIGNATURES)).to_have_text(str(before + 1), timeout=SOON)
    expect(page.locator("#signatures-table")).to_have_attribute("open", "")


def test_it_can_be_paused_and_says_when_nobody_answers(page: Page, keycast_server: LiveServer) -> None:
    sign_in_as_operator(page, keycast_server)
    state = page.locator("#live-state")
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("Paused.")
    page.get_by_role("button", name="Go on").click()
    expect(state).to_have_text("Live.")
    page.clock.install()
    page.route("**/admin/live/**", lambda route: route.fulfill(status=503, body=""))
    page.reload()
    page.clock.run_for(40_000)
    expect(state).to_have_text("No answer from the server. What you see is old.")
    page.unroute("**/admin/live/**")


def test_whoever_is_signed_out_meanwhile_is_told_and_shown_nothing_new(page: Page, keycast_server: LiveServer) -> None:
    sign_in_as_operator(page, keycast_server)
    expect(page.locator("#live-state")).to_have_text("Live.")
    page.context.clear_cookies()
    expect(page.locator("#live-state")).to_contain_text("You are signed out", timeout=SOON)
    expect(page.get_by_role("heading", name="Keys by mode and state")).to_be_visible()


def test_it_fits_a_phone_in_the_dark_and_jobs_too(page: Page, keycast_server: LiveServer) -> None:
    sign_in_as_operator(page, keycast_server)
    sign_once(keycast_server)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in ("", "?span=week", "?span=day&tenant=nobody", "jobs/", "jobs/?show=failed", "jobs/heartbeat/run/"):
        page.goto(keycast_server.admin_url + path)
        expect(page.locator("#content-main")).to_be_visible()
        assert fits(page), path
