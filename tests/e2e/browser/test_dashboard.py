"""The dashboard in a real browser: it keeps itself fresh, says when it cannot, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.conftest import DESKTOP, PHONE, Watched
from tests.e2e.browser.test_admin import fits, sign_in_as_operator
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(180)]

SOON = 30_000
"""Milliseconds: a few rounds of asking, on a busy machine."""
SIGNATURES = "#sum-signatures strong"


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, keycast_server: LiveServer) -> Any:
    """An operator's cookies: a code of the second factor is taken once only, so nobody signs in twice."""
    context = chromium.new_context(base_url=keycast_server.portal_url)
    context.set_default_timeout(15_000)
    sign_in_as_operator(context.new_page(), keycast_server)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(chromium: Browser, keycast_server: LiveServer, signed_in: Any) -> Iterator[Page]:
    """The dashboard, open, in a browser that complains of nothing."""
    context = chromium.new_context(storage_state=signed_in, viewport=DESKTOP)  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    watched = Watched(context.new_page())
    watched.page.goto(keycast_server.admin_url)
    yield watched.page
    context.close()
    assert watched.complaints == []


def sign_once(server: LiveServer) -> None:
    server.manage("nip46", "sign", "--bunker", server.bunker_url(), "--content", "seen on the dashboard", "--json")


def signatures(page: Page) -> int:
    return int(page.locator(SIGNATURES).inner_text().replace(",", ""))


def test_a_signature_appears_without_a_reload(page: Page, keycast_server: LiveServer) -> None:
    state = page.locator("#live-state")
    expect(state).to_have_text("Live.")
    before = signatures(page)
    page.evaluate("window.wasNotReloaded = true")
    sign_once(keycast_server)
    expect(page.locator(SIGNATURES)).to_have_text(str(before + 1), timeout=SOON)
    assert page.evaluate("window.wasNotReloaded")
    expect(page.locator("#live-at")).to_contain_text("Updated")
    assert page.locator("figure.chart rect.first").count() > 0
    page.locator("#signatures-table summary").click()
    updated = page.locator("#live-at").inner_text()
    expect(page.locator("#live-at")).not_to_have_text(updated, timeout=SOON)
    expect(page.locator("#signatures-table")).to_have_attribute("open", "")


def test_it_can_be_paused_and_says_when_nobody_answers(page: Page) -> None:
    state = page.locator("#live-state")
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("Paused.")
    page.get_by_role("button", name="Go on").click()
    expect(state).to_have_text("Live.")
    page.clock.install()
    page.route("**/admin/live/**", lambda route: route.fulfill(status=204))
    page.reload()
    page.clock.run_for(40_000)
    expect(state).to_have_text("No answer from the server. What you see is old.")
    page.unroute("**/admin/live/**")


def test_whoever_is_signed_out_meanwhile_is_told_and_shown_nothing_new(page: Page) -> None:
    expect(page.locator("#live-state")).to_have_text("Live.")
    page.context.clear_cookies()
    expect(page.locator("#live-state")).to_contain_text("You are signed out", timeout=SOON)
    expect(page.get_by_role("heading", name="Keys by mode and state")).to_be_visible()


def test_it_fits_a_phone_in_the_dark_and_jobs_too(page: Page, keycast_server: LiveServer) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in ("", "?span=week", "?span=day&tenant=nobody", "jobs/", "jobs/?show=failed", "jobs/heartbeat/run/"):
        page.goto(keycast_server.admin_url + path)
        expect(page.locator("#content-main")).to_be_visible()
        assert fits(page), path
