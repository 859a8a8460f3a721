"""The owner sees the co-signer's own record, and its operator's stop, of a key that really is split."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from keycast.nostr.nip01 import parse_event
from tests.e2e.browser.conftest import PHONE, sign_in
from tests.e2e.browser.test_every_page import Walker
from tests.e2e.live import LiveServer, live

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live(hsm=True) as server:
        yield server


def test_a_signature_and_a_stop_by_the_co_signers_operator_reach_the_owner(
    chromium: Browser, server: LiveServer
) -> None:
    npub, public_key = server.create_key("Split", "hsm")
    state = f"PersonalKey.objects.get(public_key={public_key!r}).state"
    server.until("from keys.models import PersonalKey", state, "found == 'active'")
    url = server.bunker_url(key=npub)
    event = parse_event(server.manage("nip46", "sign", "--bunker", url, "--content", "hello").strip())
    context = chromium.new_context(base_url=server.portal_url, viewport=PHONE, color_scheme="dark")
    walker = Walker(context.new_page(), "phone-dark")
    page = walker.page
    sign_in(page, server)
    page.goto("/keys/")
    page.get_by_role("link", name="Split").first.click()
    expect(page.get_by_text(re.compile("Today .UTC.: signed 1 time,"))).to_be_visible()
    walker.look("key")
    server.manage("cosigner", "stop", "--key", npub, "--reason", "the phone was stolen")
    page.reload()
    expect(page.get_by_text("the phone was stolen")).to_be_visible()
    walker.look("stopped key")
    page.get_by_role("link", name="Show it").click()
    expect(page.get_by_role("heading", name="The co-signer's own record")).to_be_visible()
    expect(page.get_by_text(event.id)).to_be_visible()
    expect(page.get_by_text("Its operator stopped the key")).to_be_visible()
    walker.look("record")
    page.emulate_media(color_scheme="light")
    page.reload()
    walker.look("record in light")
    walker.conclude()
    context.close()
