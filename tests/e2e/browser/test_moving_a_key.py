"""An owner moves a key to the HSM in a browser, while an app goes on signing with it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from keycast.nostr.client import BunkerClient, ClientError
from keycast.nostr.nip01 import verify_event
from tests.e2e.browser.conftest import DESKTOP, PHONE, sign_in
from tests.e2e.browser.test_every_page import Walker
from tests.e2e.live import LiveServer, live

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(300)]

WAITING = (
    "from datetime import timedelta; from django.utils import timezone; from keycast.audit.entries import Actor;"
    "from keys import services; from keys.models import Conversion, PersonalKey;"
    "key = PersonalKey.objects.select_related('tenant', 'user').get(name={name!r});"
    "services.convert_key(actor=Actor.command('test'), key=key);"
    "Conversion.objects.filter(key=key).update(busy_until=timezone.now() + timedelta(hours=1));"
    "print(key.id)"
)
"""A move that no job goes on with, as when the process that had it has just died."""
FAILED = (
    "from keys.models import Conversion; Conversion.objects.update(step='failed', half_a=None, half_b=None,"
    " problem='The HSM could not make the key.')"
)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live(hsm=True) as server:
        yield server


class App:
    """Signs one note after the other, in a thread of its own, until it is told to stop."""

    def __init__(self, url: str) -> None:
        self.url, self.signed, self.error = url, 0, ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> App:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            asyncio.run(self._sign())
        except Exception as error:
            self.error = repr(error)
            raise

    async def _sign(self) -> None:
        async with BunkerClient(self.url, timeout=30) as client:
            await connected(client)
            while not self._stop.is_set():
                note = {"kind": 1, "content": f"note {self.signed}", "tags": [], "created_at": 1_700_000_000}
                assert verify_event(await client.sign_event(note))
                self.signed += 1


def test_a_key_moves_while_an_app_signs_with_it(chromium: Browser, server: LiveServer) -> None:
    npub, _ = server.create_key("To be moved")
    context = chromium.new_context(base_url=server.portal_url, viewport=DESKTOP)
    page = context.new_page()
    walker = Walker(page, "desktop-light")
    sign_in(page, server)
    with App(server.bunker_url(key=npub)) as app:
        until(lambda: app.signed > 3 or app.error)
        open_key(page, "To be moved")
        ask_to_move(page, server)
        walker.look("convert")
        page.get_by_label("I understand").check()
        page.get_by_role("button", name="Move the key").click()
        expect(page.get_by_text("HSM-authorised, split key").first).to_be_visible(timeout=60_000)
        before = app.signed
        until(lambda: app.signed > before + 3 or app.error)
    context.close()
    assert app.error == ""
    walker.conclude()


@pytest.mark.parametrize(("label", "size", "theme"), [("phone-dark", PHONE, "dark"), ("phone-light", PHONE, "light")])
def test_the_pages_of_a_move_fit_a_phone(
    chromium: Browser, server: LiveServer, label: str, size: dict[str, int], theme: str
) -> None:
    name = f"Waiting {label}"
    server.create_key(name)
    context = chromium.new_context(base_url=server.portal_url, viewport=size, color_scheme=theme)
    page = context.new_page()
    walker = Walker(page, label)
    sign_in(page, server)
    open_key(page, name)
    walker.look("key-that-can-move")
    ask_to_move(page, server)
    walker.look("convert-confirm")
    server.python(WAITING.format(name=name))
    open_key(page, name)
    expect(page.get_by_text("being moved to the HSM")).to_be_visible()
    walker.look("convert-progress")
    server.python(FAILED)
    expect(page.get_by_text("The key was not moved.")).to_be_visible(timeout=20_000)
    walker.look("convert-failed")
    page.get_by_role("button", name="Leave it as it is").click()
    expect(page.get_by_text("The key was not moved.")).to_have_count(0)
    context.close()
    walker.conclude()


async def connected(client: BunkerClient) -> None:
    """The server hears of a fresh bunker URL within a second."""
    for _ in range(50):
        try:
            await client.connect()
        except ClientError:
            await asyncio.sleep(0.2)
        else:
            return
    raise AssertionError("not connected in time")


def open_key(page: Page, name: str) -> None:
    page.goto("/keys/")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1, name=re.compile(name))).to_be_visible()


def ask_to_move(page: Page, server: LiveServer) -> None:
    page.get_by_role("link", name="Move to the HSM").click()
    page.get_by_label("Password").fill(server.user["password"])
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="What changes")).to_be_visible()


def until(condition, within: float = 60.0) -> None:
    done = threading.Event()
    for _ in range(int(within / 0.2)):
        if condition():
            return
        done.wait(0.2)
    raise AssertionError("not in time")
