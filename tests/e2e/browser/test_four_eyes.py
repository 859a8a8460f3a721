"""Two persons at two browsers: one locks a key, both destroy it, its app is stopped, and the log proves all of it."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from keycast.nostr.client.bunker import BunkerClient
from keycast.nostr.client.errors import BunkerRefused
from tests.e2e.browser.authenticator import unused_code
from tests.e2e.browser.conftest import DESKTOP, PHONE, Watched
from tests.e2e.browser.test_admin import fits
from tests.e2e.live import LiveServer
from tests.waiting import LONG

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(300)]

SHOTS = os.environ.get("KEYCAST_SCREENSHOTS", "")
SOON = 60_000
"""Milliseconds in which a background job is done on a busy machine."""


class Officer:
    """A person at a browser of their own, with an authenticator app."""

    def __init__(self, page: Page, server: LiveServer, account: dict[str, str]) -> None:
        self.page, self.server, self.account = page, server, account

    def sign_in(self) -> None:
        self.page.goto(self.server.admin_url)
        self.page.get_by_label("Email").fill(self.account["email"])
        self.page.get_by_label("Password").fill(self.account["password"])
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.prove()
        self.page.wait_for_url(self.server.admin_url)

    def prove(self) -> None:
        """Type the code that is asked for."""
        self.page.locator("input[name=code]").fill(unused_code(self.account["totp_secret"]))
        self.page.locator("main button[type=submit]").first.click()

    def go(self, path: str) -> None:
        self.page.goto(self.server.admin_url + path)

    def find_key(self, npub: str) -> None:
        self.go(f"keys/personalkey/?q={npub}")
        self.page.locator("#result_list tbody th a").first.click()

    def do(self, link: str, button: str | re.Pattern[str], reason: str) -> None:
        """One verb, with its reason, and with the second factor if it is asked for."""
        self.page.get_by_role("link", name=link, exact=True).click()
        self.page.get_by_label("Reason").fill(reason)
        self.page.get_by_role("button", name=button).click()
        if self.page.locator("input[name=code]").is_visible():
            self.prove()
            expect(self.page.get_by_label("Reason")).to_have_value(reason)
            self.page.get_by_role("button", name=button).click()


class App:
    """A client that has notes signed one after the other, until it is refused."""

    def __init__(self, url: str) -> None:
        self.url, self.signed_at, self.refusal = url, [0.0], ""
        self.has_begun, self.thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._sign_until_refused())

    async def _sign_until_refused(self) -> None:
        async with BunkerClient(self.url, timeout=90) as client:
            await client.connect()
            await client.get_public_key()
            for number in count():
                asked = time.monotonic()
                note: dict[str, Any] = {"kind": 1, "content": str(number), "tags": [], "created_at": int(time.time())}
                try:
                    await client.sign_event(note)
                except BunkerRefused as refused:
                    self.refusal = str(refused)
                    return
                self.signed_at.append(asked)
                self.has_begun.set()
                await asyncio.sleep(0.02)


@contextmanager
def officer(chromium: Browser, server: LiveServer, account: dict[str, str]) -> Iterator[Officer]:
    context = chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    watched = Watched(context.new_page())
    yield Officer(watched.page, server, account)
    assert watched.complaints == []
    context.close()


def test_a_key_is_locked_and_destroyed_by_two_and_the_log_proves_it(
    chromium: Browser, keycast_server: LiveServer
) -> None:
    npub, _ = keycast_server.create_key("Four eyes")
    app = App(keycast_server.bunker_url(key=npub, name="An app that goes on"))
    app.thread.start()
    assert app.has_begun.wait(LONG), "the app never got a signature"
    with officer(chromium, keycast_server, keycast_server.operator) as first:
        first.sign_in()
        lock(first, npub, app)
        first.find_key(npub)
        first.do("Destroy…", re.compile("Ask"), "its owner has left")
        expect(first.page.get_by_text("Asked for approval")).to_be_visible()
        expect(first.page.locator("#life ~ ol")).not_to_contain_text("Destruction of the key scheduled")
        with officer(chromium, keycast_server, keycast_server.officer) as second:
            second.sign_in()
            approve(second)
        first.find_key(npub)
        expect(first.page.locator("ol.timeline")).to_contain_text("Destruction of the key scheduled")
        expect(first.page.locator("ol.timeline")).to_contain_text(keycast_server.operator["email"])
        read_and_verify(first, npub)
        look_at_pages(first, npub)


def lock(person: Officer, npub: str, app: App) -> None:
    """The app is refused within a second: none of what it asked for later than that was signed."""
    person.find_key(npub)
    person.do("Lock", "Lock", "a phone was stolen")
    expect(person.page.get_by_text("Done: lock")).to_be_visible()
    locked_at = time.monotonic()
    app.thread.join(30)
    assert "locked" in app.refusal
    assert app.signed_at[-1] < locked_at + 1.0


def approve(person: Officer) -> None:
    person.go("accounts/approval/")
    person.page.locator("#result_list tbody th a").first.click()
    expect(person.page.get_by_text("its owner has left")).to_be_visible()
    person.do("Approve", "Approve", "I asked them, it is true")
    expect(person.page.get_by_text("Done: approve")).to_be_visible()


def read_and_verify(person: Officer, npub: str) -> None:
    """The log shows who did what and why, and it verifies."""
    page = person.page
    person.go(f"audit/auditrow/?q={npub}")
    for what in ("Key locked", "Destruction of the key scheduled"):
        expect(page.get_by_role("link", name=what).first).to_be_visible()
    page.get_by_role("link", name="Destruction of the key scheduled").first.click()
    for text in ("its owner has left", person.server.operator["email"], person.server.officer["email"]):
        expect(page.locator("#content-main")).to_contain_text(text)
    person.go("audit/verification/")
    page.get_by_role("button", name="Verify everything now").click()
    expect(page.locator("section", has=page.locator("#result")).get_by_text("Intact")).to_be_visible(timeout=SOON)
    expect(page.get_by_text("Broken")).to_have_count(0)


FINDINGS = """
from keys.models import HsmInventory, HsmOrphan, PersonalKey; from django.utils import timezone
 ring = "projects/p/locations/europe-west1/keyRings/keycast/cryptoKeys/"
 name, key = ring + "user-5f1c7b60-7b1f-4c7e-9c51-2f3a0f5d8f11", PersonalKey.objects.latest("created_at")
 HsmOrphan.objects.create(provider="google", name=name, versions=[name + "/cryptoKeyVersions/1"])
 findings = [
  {"kind": "orphan", "name": name, "key_id": "", "detail": ""},
  {"kind": "disabled", "name": name[:-1] + "2", "key_id": key.id.hex, "detail": name[:-1] + "2/cryptoKeyVersions/1"},
 ]
 report = {"in_hsm": 2, "counts": {"orphan": 1, "disabled": 1}, "findings": findings}
 report |= {"foreign": [ring + "backup-of-accounting"], "foreign_count": 1}
 made = HsmInventory.objects.create(provider="google", state="done", asked_by="jobs", report=report, done=2, total=2,
  finished_at=timezone.now())
 print(made.pk)
"""
"""A result as it could be, so that its page has something to show."""


def look_at_pages(person: Officer, npub: str) -> None:
    """The pages that this is about, in both themes, at the width of a desk and of a phone."""
    page, key, inventory = person.page, f"keys/personalkey/?q={npub}", person.server.python(FINDINGS.strip())
    person.find_key(npub)
    detail = page.url.removeprefix(person.server.admin_url)
    windows = [("light", DESKTOP), ("dark", PHONE)]
    for scheme, size in [*windows, ("dark", DESKTOP), ("light", PHONE)] if SHOTS else windows:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for name, path in (
            ("keys", "keys/personalkey/"),
            ("found", key),
            ("key", detail),
            ("keep", detail.replace("change/", "do/keep/")),
            ("inventories", "keys/hsminventory/"),
            ("inventory", f"keys/hsminventory/{inventory}/change/"),
            ("orphans", "keys/hsmorphan/"),
            ("compare", "hsm/google/compare/"),
        ):
            person.go(path)
            assert fits(page), (name, scheme, size)
            if SHOTS:
                Path(SHOTS).mkdir(parents=True, exist_ok=True)
                shot = f"admin-{name}-{'phone' if size is PHONE else 'desktop'}-{scheme}.png"
                page.screenshot(path=Path(SHOTS) / shot, full_page=True)


UNDER_WAY = """
from keys.models import HsmInventory; from django.utils import timezone; from datetime import timedelta
 busy = timezone.now() + timedelta(hours=1)
 print(HsmInventory.objects.create(provider="google", asked_by="x", total=9, done=3, phase="rows", lease_until=busy).pk)
"""
ENDED = """
from keys.models import HsmInventory; from django.utils import timezone
 HsmInventory.objects.filter(state="running").update(state="done", done=9, finished_at=timezone.now())
"""


def test_an_inventory_shows_by_itself_that_it_has_ended(chromium: Browser, keycast_server: LiveServer) -> None:
    with officer(chromium, keycast_server, keycast_server.officer) as person:
        person.sign_in()
        person.go(f"keys/hsminventory/{keycast_server.python(UNDER_WAY.strip())}/change/")
        expect(person.page.get_by_text("Still under way")).to_be_visible()
        keycast_server.python(ENDED.strip())
        expect(person.page.get_by_text("HSM and database agree.")).to_be_visible(timeout=SOON)
        expect(person.page.get_by_text("9 of 9")).to_be_visible()
        expect(person.page.locator("progress")).to_have_count(0)
