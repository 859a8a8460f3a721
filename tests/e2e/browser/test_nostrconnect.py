"""A client shows a nostrconnect:// address, its owner pastes it into the portal, and the client is in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import parse_event, verify_event
from tests.e2e.browser.conftest import sign_in
from tests.e2e.conftest import CLIENTS
from tests.e2e.live import LiveServer

SHOTS = os.environ.get("KEYCAST_SCREENSHOTS", "")

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_node, pytest.mark.timeout(180)]


@pytest.mark.parametrize("path", ["built-in relay", "another relay"])
@pytest.mark.compliance(
    spec="NIP-46", section="Direct connection initiated by the client", requirement="nostrconnect://"
)
def test_nostr_tools_is_let_in_by_its_own_address(
    page: Page, keycast_server: LiveServer, other_relay: str, path: str
) -> None:
    relay = keycast_server.relay_url if path == "built-in relay" else other_relay
    client = subprocess.Popen(
        ["node", "nostrconnect.mjs", relay], cwd=CLIENTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stdout
    try:
        uri = client.stdout.readline().strip()
        sign_in(page, keycast_server)
        page.goto("/apps/approve/")
        page.get_by_label("Address from the app").fill(uri)
        page.get_by_role("button", name="See what it asks for").click()
        expect(page.get_by_text("“Waiting client”")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="Write private messages (NIP-44)")).to_be_visible()
        page.get_by_role("button", name="Let it in").click()
        expect(page.get_by_text("You let the app in")).to_be_visible()
        printed, errors = client.communicate(timeout=60)
    finally:
        client.kill()
    assert printed, errors
    event = parse_event(json.dumps(json.loads(printed)["event"]))
    assert verify_event(event)
    page.reload()
    expect(page.locator("#main")).to_contain_text("Sign: note")


def test_the_owner_sees_what_is_left_out_and_that_the_app_has_not_heard_yet(
    page: Page, keycast_server: LiveServer
) -> None:
    key = Keypair.generate()[0].public_key_hex
    odd = "relay=nonsense&perms=undefined,sign_event:1&name=An app&url=javascript:x"
    sign_in(page, keycast_server)
    page.goto("/apps/approve/")
    page.get_by_label("Address from the app").fill(f"nostrconnect://{key}?relay=ws://127.0.0.1:1&secret=s3cr3t&{odd}")
    page.get_by_role("button", name="See what it asks for").click()
    page.get_by_text("Left out of its address").click()
    for text in ("nonsense", "undefined", "javascript:x"):
        expect(page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
    _shoot(page, "left-out")
    page.get_by_role("button", name="Let it in").click()
    expect(page.get_by_text("Telling the app that it is let in…")).to_be_visible()
    _shoot(page, "not-heard-yet")
    page.get_by_role("button", name="Let it use all that the policy allows").click()
    expect(page.get_by_text("may now use all that its policy allows")).to_be_visible()
    expect(page.get_by_text("Narrowed to what it asked for")).to_have_count(0)


def _shoot(page: Page, name: str) -> None:
    if not SHOTS:
        return
    for label, width, scheme in (("desktop", 1200, "light"), ("phone", 375, "light"), ("phone-dark", 375, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=Path(SHOTS) / f"nostrconnect-{name}-{label}.png", full_page=True)
