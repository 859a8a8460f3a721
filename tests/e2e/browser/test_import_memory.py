"""A key is imported through the real form, in Chromium; then every process of the server is looked through for it.

Split by the page, it is whole in none of them, at no time. Where the server gets it, nothing of it is left once the
page is answered but what docs/security-model.md names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19, nip49
from tests.e2e.browser.conftest import DESKTOP, PHONE, sign_in
from tests.e2e.browser.test_every_page import Walker
from tests.e2e.live import LiveServer, live
from tests.e2e.test_process_memory import occurrences, secret_of, sign
from tests.keycast.crypto.test_memory import memory_of

pytestmark = [
    pytest.mark.needs_browser,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of the signers"),
    pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="the database makes no difference: shown once"),
]
PASSWORD = "a password of an ncryptsec"
ROLES = ("serve", "signer", "cosigner", "qcluster")
ENCRYPTED, SPLIT = re.compile("^Encrypted"), re.compile("^HSM-authorised, split key")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live({"KEYCAST_SIGNER_CHILD": "1", "KEYCAST_KEY_LEASE_SECONDS": "0"}, hsm=True) as server:
        yield server


def processes(server: LiveServer) -> dict[int, str]:
    """The server and all that it started: what each of them is, by its process id."""
    parents, found = {}, {server.pid}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in found}


def left(server: LiveServer, secret: bytes) -> dict[str, int]:
    """How often the key occurs, in any form, in the processes in which it does."""
    running = processes(server)
    for role in ROLES:
        assert any(role in command for command in running.values()), f"no {role} among {sorted(running.values())}"
    seen = {command: occurrences(memory_of(pid), secret) for pid, command in running.items()}
    return {command: count for command, count in seen.items() if count}


def fill(page: Page, name: str, typed: str, kept: re.Pattern[str]) -> None:
    page.goto("/keys/import/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Secret key", exact=True).fill(typed)
    page.get_by_role("radio", name=kept).check()
    page.get_by_label("I have a safe copy").check()


def send(page: Page) -> None:
    page.get_by_role("button", name="Import the key").click()
    page.wait_for_url(re.compile(r"/keys/[0-9a-f-]{36}/"))


def nsec_of(secret: bytes) -> str:
    with SecretBytes(secret) as held:
        return nip19.encode_nsec(held)


def test_a_key_that_the_page_splits_is_whole_in_no_process_and_signs(chromium: Browser, server: LiveServer) -> None:
    keypair, whole = Keypair.generate()
    secret = bytes(whole.view())
    context = chromium.new_context(base_url=server.portal_url, viewport=DESKTOP)
    page, bodies = context.new_page(), []
    page.on("request", lambda request: bodies.append(request.post_data or ""))
    sign_in(page, server)
    fill(page, "Split here", nsec_of(secret), SPLIT)
    expect(page.get_by_text("This page splits the key")).to_be_visible()
    send(page)
    assert left(server, secret) == {}
    sent = "".join(bodies)
    assert "split=" in sent
    assert not any(text in sent for text in (nsec_of(secret), secret.hex(), "&secret="))
    npub = nip19.encode_npub(keypair.public_key_hex)
    server.until(
        "from keys.models import PersonalKey", "PersonalKey.objects.get(name='Split here').state", "found == 'active'"
    )
    assert sign(server, npub, 1)
    assert left(server, secret) == {}
    context.close()


def test_of_an_ncryptsec_the_key_is_not_left_but_its_password_is_text(chromium: Browser, server: LiveServer) -> None:
    keypair = Keypair.generate()[0]
    with keypair.secret() as whole:
        sealed = nip49.encrypt(whole, PASSWORD, log_n=14)
    context = chromium.new_context(base_url=server.portal_url, viewport=DESKTOP)
    page = context.new_page()
    sign_in(page, server)
    fill(page, "Encrypted copy", sealed, SPLIT)
    page.get_by_label("Password of the ncryptsec").fill(PASSWORD)
    expect(page.get_by_text("An ncryptsec is opened by the server")).to_be_visible()
    send(page)
    assert left(server, secret_of(keypair)) == {}
    context.close()


@pytest.mark.parametrize(
    ("label", "size", "theme"), [("phone-dark", PHONE, "dark"), ("desktop-light", DESKTOP, "light")]
)
def test_the_page_fits_and_says_where_a_key_is_split(
    chromium: Browser, server: LiveServer, label: str, size: dict[str, int], theme: str
) -> None:
    context = chromium.new_context(base_url=server.portal_url, viewport=size, color_scheme=theme)
    page = context.new_page()
    walker = Walker(page, label)
    sign_in(page, server)
    fill(page, "Mine", "nsec1wrong", ENCRYPTED)
    expect(page.get_by_text("the server gets the whole key")).to_be_visible()
    fill(page, "Mine", "nsec1wrong", SPLIT)
    expect(page.get_by_text("This page splits the key")).to_be_visible()
    page.get_by_role("button", name="Import the key").click()
    expect(page.get_by_text("This is no secret key. Nothing was sent.")).to_be_visible()
    walker.look("import-split")
    context.close()
    walker.conclude()


@pytest.mark.parametrize("kept", [ENCRYPTED, SPLIT], ids=["encrypted", "split-by-the-server"])
@pytest.mark.parametrize("form", ["nsec", "hex"])
def test_of_a_key_that_the_server_gets_nothing_is_left(
    chromium: Browser, server: LiveServer, kept: re.Pattern[str], form: str
) -> None:
    secret = secret_of(Keypair.generate()[0])
    context = chromium.new_context(base_url=server.portal_url, viewport=DESKTOP, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, server)
    fill(page, f"Whole {form}", nsec_of(secret) if form == "nsec" else secret.hex(), kept)
    send(page)
    assert left(server, secret) == {}
    context.close()
