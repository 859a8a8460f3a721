"""Every page in a real browser: no complaint on the console, nothing that sticks out, nothing without a name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.conftest import DESKTOP, PHONE, Watched, sign_in
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(240)]

AUDIT = (Path(__file__).parent / "audit.js").read_text()
SHOTS = os.environ.get("KEYCAST_SCREENSHOTS", "")
FOR_VISITORS = (
    "/",
    "/account/login/",
    "/account/login/code/",
    "/account/signup/",
    "/account/password/reset/",
    "/account/invitation/",
    "/no-such-page/",
)
FOR_MEMBERS = (
    "/keys/",
    "/keys/new/",
    "/keys/import/",
    "/apps/",
    "/apps/connect/",
    "/apps/approve/",
    "/security/",
    "/emergency/",
    "/people/",
    "/audit/",
    "/audit/?what=keys&outcome=denied",
    "/settings/",
    "/settings/host-names/",
    "/settings/relays/",
    "/account/email/",
    "/account/password/change/",
    "/account/2fa/",
    "/account/2fa/totp/activate/",
    "/account/2fa/webauthn/",
    "/account/2fa/webauthn/add/",
    "/account/2fa/recovery-codes/",
    "/account/logout/",
)


class Walker:
    """One browser window of a size and theme, and what was found wrong in it."""

    def __init__(self, page: Page, label: str) -> None:
        self.watched, self.page, self.label = Watched(page), page, label
        self.findings: list[str] = []

    def look(self, name: str) -> None:
        self.page.wait_for_load_state()
        found: list[str] = self.page.evaluate(AUDIT)
        self.findings += [f"{self.label} {name}: {finding}" for finding in found]
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            file = re.sub(r"\W+", "-", name).strip("-") or "start"
            self.page.screenshot(path=Path(SHOTS) / f"{file}-{self.label}.png", full_page=True)

    def visit(self, path: str) -> None:
        self.page.goto(path)
        self.look(path)

    def conclude(self) -> None:
        assert self.findings + self.watched.complaints == []


WINDOWS = [
    "phone-light",
    "desktop-dark",
    pytest.param("phone-dark", marks=pytest.mark.slow),
    pytest.param("desktop-light", marks=pytest.mark.slow),
]


@pytest.fixture(params=WINDOWS)
def walker(request: Any, chromium: Browser, keycast_server: LiveServer) -> Iterator[Walker]:
    size, _, theme = request.param.partition("-")
    context = chromium.new_context(
        base_url=keycast_server.portal_url, viewport=PHONE if size == "phone" else DESKTOP, color_scheme=theme
    )
    context.set_default_timeout(15_000)
    yield Walker(context.new_page(), request.param)
    context.close()


def test_pages_for_visitors(walker: Walker) -> None:
    for path in FOR_VISITORS:
        walker.visit(path)
    walker.conclude()


def test_pages_for_members(walker: Walker, keycast_server: LiveServer) -> None:
    sign_in(walker.page, keycast_server)
    confirm_identity(walker.page, keycast_server)
    for path in FOR_MEMBERS:
        walker.visit(path)
    walker.conclude()


def confirm_identity(page: Page, server: LiveServer) -> None:
    page.goto("/account/reauthenticate/?next=/keys/")
    page.get_by_label("Password").fill(server.user["password"])
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/keys/")


def test_pages_about_one_key_and_one_app(walker: Walker, keycast_server: LiveServer) -> None:
    app = f"App {walker.label} with quite a long name"
    url = keycast_server.bunker_url(policy="social", name=app)
    keycast_server.manage("nip46", "sign", "--bunker", url, "--content", "hello")
    page = walker.page
    sign_in(page, keycast_server)
    page.locator("a.card-link").first.click()
    key = page.url
    walker.look("key")
    walker.visit(f"{key}activity/")
    confirm_identity(page, keycast_server)
    walker.visit(f"{key}destroy/")
    page.goto("/apps/")
    page.get_by_role("link", name=app).click()
    walker.look("app")
    page.get_by_role("link", name="Revoke…").click()
    walker.look("revoke")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
    walker.look("ended app")
    walker.conclude()


def test_forms_that_are_refused_and_pages_after_forms(walker: Walker, keycast_server: LiveServer) -> None:
    page = walker.page
    sign_in(page, keycast_server)
    page.goto("/keys/import/")
    page.get_by_role("textbox", name="Name").fill("Mine")
    page.get_by_label("Secret key").fill("nsec1nonsense")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Import the key").click()
    expect(page.get_by_text("The key was not imported")).to_be_visible()
    walker.look("refused import")
    page.goto("/apps/connect/")
    page.get_by_role("textbox", name="Name").fill("Laptop")
    page.get_by_text("What each of these allows").click()
    walker.look("connect with details")
    page.get_by_role("button", name="Get the bunker URL").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    walker.look("bunker url")
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Withdraw…").click()
    page.get_by_role("button", name="Withdraw").click()
    page.goto("/apps/approve/")
    page.get_by_label("Address from the app").fill(
        "nostrconnect://79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "?relay=wss%3A%2F%2Frelay.example.com%2Fwith%2Fa%2Flong%2Fpath%2Fthat%2Fgoes%2Fon&secret=0123456789abcdef"
        "&perms=sign_event%3A1%2Csign_event%3A0%2Cnip44_encrypt%2Cunheard_of&name=Some%20app%20%3Cb%3E"
    )
    page.get_by_role("button", name="See what it asks for").click()
    walker.look("review")
    walker.conclude()
