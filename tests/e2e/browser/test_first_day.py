"""The product's spine in a browser: sign up, make a key, let an app in, see what it did, throw it out."""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from keycast.nostr.nip01 import parse_event, verify_event
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(240)]


def code_mailed_to(server: LiveServer, email: str) -> str:
    """The newest code in a mail to this address; codes stand on a line of their own."""
    for _ in range(300):  # the job cluster may be starting yet
        mails = [mail for mail in server.mails() if email in mail]
        codes = re.findall(r"^([A-Z0-9-]{6,10})$", mails[-1], re.MULTILINE) if mails else []
        if codes:
            return codes[-1]
        time.sleep(0.1)
    raise AssertionError(f"no code was mailed to {email}")


def sign_up(page: Page, server: LiveServer, email: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill("a long enough passphrase")
    page.get_by_role("button", name="Create the account").click()
    page.get_by_label("Code").fill(code_mailed_to(server, email))
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/keys/")


def make_key(page: Page) -> None:
    page.get_by_role("link", name="Make a new key").click()
    page.get_by_role("textbox", name="Name").fill("Ada")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("heading", name="Ada", level=1)).to_be_visible()


def get_bunker_url(page: Page) -> str:
    page.get_by_role("link", name="Connect an app").click()
    page.get_by_role("textbox", name="Name").fill("Command line")
    page.get_by_role("radio", name=re.compile("Social")).check()
    page.get_by_role("button", name="Get the bunker URL").click()
    expect(page.get_by_text("Waiting for the app")).to_be_visible()
    return page.locator("#bunker-url").inner_text()


def test_a_first_day_with_keycast(page: Page, keycast_server: LiveServer, tmp_path: Path) -> None:
    sign_up(page, keycast_server, f"ada-{secrets.token_hex(4)}@example.org")
    make_key(page)
    url = get_bunker_url(page)
    client = ("--bunker", url, "--client-key-file", str(tmp_path / "client"))

    signed = keycast_server.manage("nip46", "sign", *client, "--content", "hello from a browser test")
    assert verify_event(parse_event(signed.strip()))
    expect(page.get_by_text("Connected")).to_be_visible()  # by itself: the page asks again every two seconds

    page.get_by_role("link", name="Go to the app's page").click()
    expect(page.locator("#main")).to_contain_text("Sign: note")
    page.get_by_role("link", name="Refused").click()
    expect(page.locator("#main")).to_contain_text("Nothing of this kind")
    with pytest.raises(AssertionError, match=r"kind 0 \(profile\) is not among the things this app may do"):
        keycast_server.manage("nip46", "sign", *client, "--kind", "0", "--content", "{}")
    page.reload()
    expect(page.locator("#main")).to_contain_text("Sign: profile")
    expect(page.locator("#main")).to_contain_text("Not among the things this app may do")

    page.get_by_role("link", name="Revoke…").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("The app can do nothing with your key any more")).to_be_visible()
    with pytest.raises(AssertionError, match=r"(?i)the bunker refused: .*(revoked|ended|used or expired)"):
        keycast_server.manage("nip46", "sign", *client, "--content", "too late", "--timeout", "10")


def test_the_bunker_url_does_not_survive_a_reload(page: Page, keycast_server: LiveServer) -> None:
    sign_up(page, keycast_server, f"bob-{secrets.token_hex(4)}@example.org")
    make_key(page)
    url = get_bunker_url(page)
    page.reload()
    assert re.search(r"/apps/[0-9a-f-]{36}/$", page.url)
    assert url.partition("secret=")[2] not in page.content()
    page.go_back()
    assert url.partition("secret=")[2] not in page.content()
