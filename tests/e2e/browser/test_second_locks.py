"""Passkeys, authenticator app and recovery codes in a real browser, under the strict content security policy."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import time
from base64 import b32decode

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.test_first_day import sign_up
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(180)]
PASSWORD = "a long enough passphrase"


def with_virtual_authenticator(page: Page) -> None:
    """A platform authenticator whose user always agrees (WebDriver: virtual authenticators)."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def totp(secret: str) -> str:
    """RFC 6238, SHA-1, 30 seconds, six digits."""
    key = b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    number = struct.unpack(">I", mac[mac[-1] & 15 :][:4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def prove(page: Page) -> None:
    """Answer the question who one is, if it is asked."""
    if page.get_by_role("heading", name="Is it still you?").is_visible():
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        page.wait_for_load_state()


def test_a_passkey_is_added_and_signs_in_alone(page: Page, keycast_server: LiveServer) -> None:
    with_virtual_authenticator(page)
    sign_up(page, keycast_server, f"pk-{secrets.token_hex(4)}@example.org")
    page.goto("/account/2fa/webauthn/add/")
    prove(page)
    page.get_by_label("Name").fill("This laptop")
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add the passkey").click()
    page.wait_for_url(lambda url: not url.endswith("/add/"))
    page.goto("/security/")
    expect(page.get_by_text("1 set up")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/account/login/?next=/apps/")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/apps/")
    expect(page.get_by_role("heading", name="My apps")).to_be_visible()


def test_the_authenticator_app_is_asked_for_and_recovery_codes_are_shown(
    page: Page, keycast_server: LiveServer
) -> None:
    email = f"totp-{secrets.token_hex(4)}@example.org"
    sign_up(page, keycast_server, email)
    page.goto("/account/2fa/totp/activate/")
    prove(page)
    page.get_by_text("Cannot scan?").click()
    secret = page.locator("#authenticator-secret").inner_text()
    page.get_by_label("Authenticator code").fill(totp(secret))
    page.get_by_role("button", name="Turn it on").click()
    page.goto("/account/2fa/recovery-codes/")
    prove(page)
    codes = page.locator("#recovery_codes").input_value().split()
    assert len(codes) == 10
    page.get_by_role("button", name="Sign out").click()

    page.goto("/account/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/keys/")
    page.goto("/security/")
    expect(page.get_by_text("9 left")).to_be_visible()
