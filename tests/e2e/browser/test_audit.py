"""The audit log in a real browser: found, narrowed, verified and taken out, by staff and by a tenant's owner."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from keycast.audit.offline import check
from keycast.audit.statements import Keyring, parse_public_key
from tests.e2e.browser.conftest import DESKTOP, PHONE, sign_in
from tests.e2e.browser.test_admin import fits, sign_in_as_operator
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_browser, pytest.mark.timeout(180)]
SHOTS = os.environ.get("KEYCAST_SCREENSHOTS", "")


def look(page: Page, name: str) -> None:
    """Both sizes and both themes: nothing sticks out; a picture of each where KEYCAST_SCREENSHOTS names a folder."""
    for scheme, size, label in (
        ("dark", PHONE, "phone-dark"),
        ("light", PHONE, "phone-light"),
        ("dark", DESKTOP, "desktop-dark"),
        ("light", DESKTOP, "desktop-light"),
    ):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert fits(page), (name, label)
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(SHOTS) / f"audit-{name}-{label}.png", full_page=True)


def test_staff_find_what_happened_and_verify_it(page: Page, keycast_server: LiveServer) -> None:
    key, _ = keycast_server.create_key("Audit test")
    sign_in_as_operator(page, keycast_server)
    page.goto(f"{keycast_server.admin_url}audit/auditrow/")
    look(page, "log")
    page.get_by_label("About").fill(key)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#result_list tbody a").first).to_be_visible()
    look(page, "log-of-a-key")
    page.get_by_label("How it ended").select_option(label="Failed")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("Nothing of this kind.")).to_be_visible()
    page.get_by_role("link", name="Verification").click()
    page.get_by_role("button", name="Verify everything now").click()
    expect(page.get_by_text("Intact", exact=True).first).to_be_visible(timeout=90_000)
    look(page, "verification")
    page.goto(f"{keycast_server.admin_url}audit/export/")
    look(page, "export")


def test_an_owner_reads_the_tenants_log_and_takes_it_out(page: Page, keycast_server: LiveServer) -> None:
    keycast_server.create_key("Owner's audit test")
    sign_in(page, keycast_server)
    page.get_by_role("link", name="Audit", exact=True).click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    look(page, "portal")
    page.get_by_label("What", exact=True).select_option(label="Keys")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("Key created").first).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    lines = Path(waiting.value.path()).read_bytes().splitlines(keepends=True)
    public_keys = json.loads(lines[0])["public_keys"]
    found = check(lines, Keyring(map(parse_public_key, public_keys)))
    assert found.rows > 0
    assert not any(b'"accounts:session:' in line for line in lines)
