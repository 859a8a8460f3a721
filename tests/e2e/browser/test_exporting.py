"""A key is exported in a real browser: second factor, waiting time, password, sheet; and the sheet's text opens."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip49
from keycast.nostr.nip19 import encode_npub
from tests.e2e.browser.authenticator import unused_code
from tests.e2e.browser.conftest import DESKTOP, PHONE
from tests.e2e.browser.test_every_page import SHOTS, Walker
from tests.e2e.browser.test_first_day import make_key, sign_up
from tests.e2e.browser.test_second_locks import prove
from tests.e2e.conftest import CLIENTS, node_is_missing
from tests.e2e.live import LiveServer, live

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.timeout(300)]
CHOSEN = "nine lorries in a tunnel"


@pytest.fixture(scope="module")
def exporting_server() -> Iterator[LiveServer]:
    """A server that allows exports, with its signer as a child: what is taken comes out of another process."""
    with live({"KEYCAST_KEY_EXPORT": "1", "KEYCAST_SIGNER_CHILD": "1"}) as server:
        let_tenant(server, 72)
        yield server


def let_tenant(server: LiveServer, hours: int) -> None:
    server.python(
        "from accounts.models import Tenant; from accounts.services import change_tenant;"
        "from keycast.audit.entries import Actor; change_tenant(actor=Actor.command('test'),"
        f" tenant=Tenant.objects.get(), export_wait_hours={hours})"
    )


@pytest.fixture
def walker(chromium: Browser, exporting_server: LiveServer) -> Iterator[Walker]:
    context = chromium.new_context(base_url=exporting_server.portal_url, viewport=PHONE, color_scheme="dark")
    context.set_default_timeout(15_000)
    yield Walker(context.new_page(), "phone-dark")
    context.close()


def add_authenticator_app(page: Page) -> str:
    page.goto("/account/2fa/totp/activate/")
    prove(page)
    page.get_by_text("Cannot scan?").click()
    secret = page.locator("#authenticator-secret").inner_text()
    page.get_by_label("Authenticator code").fill(unused_code(secret))
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()
    return secret


def enter_code(page: Page, secret: str) -> None:
    """Where the page asks for the second factor again."""
    if "/reauthenticate/" in page.url:
        page.locator("input[name=code]").fill(unused_code(secret))
        page.locator("main button[type=submit]").first.click()
        page.wait_for_url(lambda url: "/reauthenticate/" not in url)


def ask(page: Page, key: str, secret: str) -> None:
    for _ in range(2):  # the first press may lead to the proof
        page.goto(f"{key}export/")
        page.get_by_label("I understand").check()
        page.get_by_role("button", name="Ask for the export").click()
        page.wait_for_load_state()
        if "/reauthenticate/" not in page.url:
            break
        enter_code(page, secret)
    expect(page.get_by_text("Asked for.")).to_be_visible()


def cancel_from_mail(page: Page, server: LiveServer, email: str) -> None:
    """As somebody does who is signed in nowhere."""
    mail = next(text for text in reversed(server.mails()) if email in text and "/keys/export/cancel/" in text)
    unfolded = mail.replace("=\n", "").replace("=3D", "=")
    address = re.search(r"http\S+/keys/export/cancel/\S+", unfolded)
    assert address
    other = page.context.browser.new_context(viewport=PHONE, color_scheme="dark")  # type: ignore[union-attr]
    reader = Walker(other.new_page(), "phone-dark")
    reader.visit(address[0])
    reader.page.get_by_role("button", name="Cancel the export").click()
    expect(reader.page.get_by_text("is cancelled")).to_be_visible()
    reader.look("export cancelled by mail")
    reader.conclude()
    other.close()


def read_sheet(walker: Walker) -> None:
    """Choose a password, and find that what is shown opens with it, to the key that it says."""
    page = walker.page
    page.get_by_label("Password of the copy").fill(CHOSEN)
    page.get_by_label("Once more").fill(CHOSEN)
    page.get_by_role("button", name="Show the copy").click()
    expect(page.get_by_role("heading", name="Recovery sheet")).to_be_visible()
    walker.look("recovery sheet")
    text, npub = page.locator("#ncryptsec").inner_text(), page.locator("#npub").inner_text()
    with nip49.decrypt(text, CHOSEN) as opened, Keypair.from_secret(opened) as pair:
        assert encode_npub(pair.public_key_hex) == npub
    assert opened_by_nostr_tools(text) in {"", npub}
    page.emulate_media(media="print")
    page.set_viewport_size(DESKTOP)
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/recovery-sheet-print.png", full_page=True)
    expect(page.get_by_role("button", name="Print")).to_have_count(0)


def test_a_key_is_asked_for_waited_for_taken_and_opens(walker: Walker, exporting_server: LiveServer) -> None:
    page, server = walker.page, exporting_server
    email = f"way-out-{secrets.token_hex(4)}@example.org"
    sign_up(page, server, email)
    page.goto("/keys/new/")
    expect(page.get_by_text("under a password, 72 hours after you ask").first).to_be_visible()
    walker.look("new key")
    page.goto("/keys/")
    make_key(page)
    key = page.url
    walker.visit(f"{key}export/")
    secret = add_authenticator_app(page)
    walker.visit(f"{key}export/")
    ask(page, key, secret)
    walker.look("export asked")
    expect(page.get_by_role("link", name="Choose a password")).to_have_count(0)

    cancel_from_mail(page, server, email)
    page.goto(f"{key}export/")
    expect(page.get_by_role("button", name="Ask for the export")).to_be_visible()

    # Once more, in a tenant that asks for no waiting time.
    let_tenant(server, 0)
    ask(page, key, secret)
    walker.look("export due")
    page.get_by_role("link", name="Choose a password and download").click()
    enter_code(page, secret)
    walker.look("export password")
    read_sheet(walker)
    page.emulate_media(media="screen")
    page.goto(f"{key}export/take/")
    page.wait_for_url("**/export/")
    expect(page.get_by_role("button", name="Ask for the export")).to_be_visible()
    walker.conclude()


def opened_by_nostr_tools(text: str) -> str:
    """The npub of what another library opens; empty without Node.js."""
    if node_is_missing():
        return ""
    program = (
        "import { decrypt } from 'nostr-tools/nip49'; import { getPublicKey } from 'nostr-tools/pure';"
        "import { npubEncode } from 'nostr-tools/nip19';"
        f"console.log(npubEncode(getPublicKey(decrypt({json.dumps(text)}, {json.dumps(CHOSEN)}))))"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program], cwd=CLIENTS, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
