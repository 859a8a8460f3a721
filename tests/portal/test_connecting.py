"""Bunker URLs shown once, and nostrconnect:// addresses approved."""

from __future__ import annotations

import html
import re
import secrets
from typing import Any

import pytest
from django.utils.crypto import get_random_string

from bunker.models import Connection, Request
from keycast.crypto.schnorr import Keypair
from keycast.nostr.uris import BunkerUri, NostrConnectUri
from tests.bunker.support import regrant
from tests.portal.test_keys import confirmed


def grant(own_key: Any, **changes: str) -> dict[str, str]:
    form = {"key": str(own_key.id), "name": "Laptop", "policy": "social", "lifetime": "", "once": get_random_string(32)}
    return {**form, **changes}


def bunker_url(page: str) -> str | None:
    found = re.search(r"bunker://[^\s<\"]+", page)
    return html.unescape(found[0]) if found else None


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "root"},
        {"policy": ""},
        {"name": ""},
        {"lifetime": "99999"},
        {"once": ""},
        {"once": "../../x"},
        {"key": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_a_grant_that_is_not_on_the_form_is_refused(ada: Any, changes: dict[str, str]) -> None:
    answer = ada.browser.post("/apps/connect/", grant(ada.key(), **changes))
    assert answer.status_code == 422
    assert bunker_url(answer.content.decode()) is None
    assert not Connection.objects.exists()


def test_nobody_connects_an_app_to_anothers_key(ada: Any, bob: Any) -> None:
    assert ada.browser.post("/apps/connect/", grant(bob.key())).status_code == 422
    assert not Connection.objects.exists()


def test_a_locked_key_takes_no_apps(ada: Any) -> None:
    key = ada.key()
    ada.browser.post(f"/keys/{key.id}/lock/")
    assert ada.browser.post("/apps/connect/", grant(key)).status_code == 422
    assert not Connection.objects.exists()


def test_the_policy_is_the_templates_own_whatever_else_is_posted(ada: Any) -> None:
    extras = {"policy_document": '{"version":1}', "state": "active", "client_public_key": "ab" * 32, "use_count": "9"}
    ada.browser.post("/apps/connect/", grant(ada.key(), **extras))
    connection = Connection.objects.get()
    assert (connection.state, connection.client_public_key, connection.use_count) == ("pending", "", 0)
    assert connection.policy_slug == "social"


def test_the_bunker_url_is_shown_once_and_is_nowhere_else(ada: Any) -> None:
    form = grant(ada.key())
    page = ada.browser.post("/apps/connect/", form).content.decode()
    url = bunker_url(page)
    assert url
    secret = BunkerUri.parse(url).secret or ""
    connection = Connection.objects.get()
    assert len(secret) >= 32
    again = ada.browser.post("/apps/connect/", form, follow=True).content.decode()
    assert "shown once" in again
    assert Connection.objects.count() == 1
    for text in (
        again,
        ada.browser.get("/apps/").content.decode(),
        ada.browser.get(f"/apps/{connection.id}/").content.decode(),
        ada.browser.get(f"/apps/{connection.id}/status/").content.decode(),
        str(ada.browser.session.items()),
    ):
        assert secret not in text


def test_the_page_of_the_bunker_url_has_a_code_to_scan_and_a_clock(ada: Any) -> None:
    page = ada.browser.post("/apps/connect/", grant(ada.key())).content.decode()
    assert 'src="data:image/svg+xml' in page
    assert "data-countdown" in page
    assert 'hx-trigger="every 2s"' in page


def test_the_status_tells_of_the_app_and_stops_asking(ada: Any) -> None:
    connection = ada.app()
    path = f"/apps/{connection.id}/status/"
    assert "Waiting" in ada.browser.get(path).content.decode()
    assert ada.browser.get(path, headers={"HX-Request": "true"}).status_code == 204
    Connection.objects.filter(id=connection.id).update(
        state="active",
        client_public_key="ab" * 32,
        bound_at=connection.created_at,
        client_metadata={"name": "<img src=x onerror=alert(1)>", "url": "javascript:alert(1)"},
    )
    page = ada.browser.get(path).content.decode()
    assert "Connected" in page
    assert "unverified" in page
    assert "hx-get" not in page
    assert "<img src=x" not in page


def test_what_an_app_says_of_itself_is_never_a_link(ada: Any) -> None:
    connection = ada.app()
    Connection.objects.filter(id=connection.id).update(
        state="active",
        client_public_key="ab" * 32,
        bound_at=connection.created_at,
        client_metadata={
            "name": "</title><script>x</script>",
            "url": "https://evil.example",
            "image": "https://a/b.png",
        },
    )
    for path in ("/apps/", f"/apps/{connection.id}/", f"/keys/{connection.key_id}/"):
        page = ada.browser.get(path).content.decode()
        assert "<script>x" not in page
        assert 'href="https://evil' not in page
        assert "https://a/b.png" not in page


def uri(**changes: Any) -> str:
    keypair, secret = Keypair.generate()
    secret.wipe()
    fields = {
        "relays": ("wss://relay.example.com",),
        "secret": secrets.token_hex(8),
        "name": "Nice <b>app</b>",
        **changes,
    }
    return NostrConnectUri(keypair.public_key_hex, **fields).format()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nostrconnect://",
        "bunker://" + "ab" * 32,
        "https://example.com",
        "javascript:alert(1)",
        "nostrconnect://" + "0" * 64 + "?relay=wss://a.b&secret=x",
        "x" * 9000,
    ],
)
def test_what_is_no_address_of_an_app_is_refused(ada: Any, text: str) -> None:
    ada.key()
    answer = ada.browser.post("/apps/approve/", {"uri": text})
    assert answer.status_code == 422
    assert not Connection.objects.exists()


def test_an_address_in_the_pages_own_address_is_not_read(ada: Any) -> None:
    ada.key()
    text = uri()
    assert text not in ada.browser.get("/apps/approve/", {"uri": text}).content.decode()


def test_looking_at_an_address_grants_nothing_and_says_what_is_unverified(ada: Any) -> None:
    ada.key()
    from keycast.nostr.nip46 import parse_permissions

    text = uri(permissions=parse_permissions("sign_event:1,sign_event:0,nip44_decrypt"))
    page = ada.browser.post("/apps/approve/", {"uri": text}).content.decode()
    assert not Connection.objects.exists()
    assert "Unverified" in page
    assert "<b>app" not in page
    assert "Sign: profile (kind 0)" in page
    assert "Read private messages (NIP-44)" in page


def test_an_approved_app_is_connected_with_what_was_chosen(ada: Any) -> None:
    key, text = ada.key(), uri()
    answer = ada.browser.post("/apps/approve/", {**grant(key, policy="read-only", lifetime="7"), "uri": text})
    connection = Connection.objects.get()
    assert answer["Location"] == f"/apps/{connection.id}/"
    assert (connection.state, connection.policy_slug) == ("active", "read-only")
    assert connection.expires_at is not None
    assert connection.client_public_key == NostrConnectUri.parse(text).client_public_key


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("abandoned", "The app could not be told."),
        ("answered", "Telling the app that it is let in"),
        ("published", "Connected"),
    ],
)
def test_the_page_of_an_approved_app_says_whether_a_relay_took_the_answer(ada: Any, state: str, said: str) -> None:
    text = uri()
    page = ada.browser.post("/apps/approve/", {**grant(ada.key()), "uri": text}, follow=True).content.decode()
    assert "Telling the app that it is let in" in page
    Request.objects.filter(request_id__startswith="nostrconnect:").update(state=state)
    path = f"/apps/{Connection.objects.get().id}/status/"
    fragment = ada.browser.get(path).content.decode()
    assert said in fragment
    assert ("hx-get" in fragment) == (state == "answered")
    asked_again = ada.browser.get(path, headers={"HX-Request": "true"})
    assert asked_again.status_code == (204 if state == "answered" else 200)


def test_what_is_left_out_of_an_address_is_shown(ada: Any) -> None:
    ada.key()
    text = uri() + "&relay=nonsense&relay=ws://10.0.0.1&perms=undefined&url=javascript:x"
    page = ada.browser.post("/apps/approve/", {"uri": text}).content.decode()
    for part in ("nonsense", "ws://10.0.0.1", "undefined", "javascript:x"):
        assert f'<span class="mono">{part}</span>' in page


def test_an_app_is_let_in_on_the_relays_that_may_be_connected_to(ada: Any) -> None:
    answer = ada.browser.post(
        "/apps/approve/", {**grant(ada.key()), "uri": uri() + "&relay=wss://localhost&relay=ws://10.0.0.1"}
    )
    assert answer.status_code == 302
    assert Connection.objects.get().relays == ["wss://relay.example.com"]


def test_an_app_is_let_in_without_the_relay_that_is_one_too_many_and_its_owner_is_told(
    ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bunker.services.common.MAX_RELAYS_OF_A_PERSON", 1)
    text = uri() + "&relay=wss://second.example.com"
    answer = ada.browser.post("/apps/approve/", {**grant(ada.key()), "uri": text}, follow=True)
    assert Connection.objects.get().relays == ["wss://relay.example.com"]
    assert "are left out: wss://second.example.com" in answer.content.decode()


def test_an_app_with_no_relay_that_may_be_connected_to_is_refused_with_the_reason(ada: Any) -> None:
    text = uri().replace("relay=wss%3A%2F%2Frelay.example.com", "relay=ws%3A%2F%2F10.0.0.1")
    answer = ada.browser.post("/apps/approve/", {**grant(ada.key()), "uri": text}, follow=True)
    assert "none of the relays that the app names" in answer.content.decode()
    assert not Connection.objects.exists()


def test_an_app_that_asked_for_what_nobody_knows_has_all_that_was_granted(ada: Any) -> None:
    connection = ada.app()
    _bind(connection, "undefined,<b>")
    page = ada.browser.get(f"/apps/{connection.id}/").content.decode()
    assert "Narrowed" not in page
    assert "undefined" in page
    assert "&lt;b&gt;" in page


def test_an_owner_lifts_the_narrowing_of_an_app(ada: Any, bob: Any) -> None:
    connection = ada.app()
    _bind(connection, "ping")
    path = f"/apps/{connection.id}/"
    assert "to know your public key, nothing else" in ada.browser.get(path).content.decode()
    assert bob.browser.post(f"{path}lift-narrowing/").status_code == 404
    assert "Narrowed" in ada.browser.get(path).content.decode()
    confirmed(ada)
    assert "all that its policy allows" in ada.browser.post(f"{path}lift-narrowing/", follow=True).content.decode()
    assert "Narrowed" not in ada.browser.get(path).content.decode()


def _bind(connection: Connection, requested: str) -> None:
    bound = {"state": "active", "client_public_key": "ab" * 32, "bound_at": connection.created_at}
    regrant(Connection.objects.filter(id=connection.id), **bound, requested_permissions=requested)


def test_an_app_that_has_used_its_key_was_told_whatever_its_relays_said(ada: Any) -> None:
    ada.browser.post("/apps/approve/", {**grant(ada.key()), "uri": uri()})
    Request.objects.update(state="abandoned")
    Connection.objects.update(use_count=1)
    page = ada.browser.get(f"/apps/{Connection.objects.get().id}/").content.decode()
    assert "could not be told" not in page


def test_the_app_is_revoked_by_post_after_a_question(ada: Any) -> None:
    connection = ada.app()
    assert "Withdraw" in ada.browser.get(f"/apps/{connection.id}/revoke/").content.decode()
    connection.refresh_from_db()
    assert connection.state == "pending"
    ada.browser.post(f"/apps/{connection.id}/revoke/")
    connection.refresh_from_db()
    assert connection.state == "revoked"
    assert "Revoked" in ada.browser.get("/apps/").content.decode()
