"""Somebody has a person's session cookie, and nothing else of theirs: what they get, and what its owner hears."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.utils import timezone
from django.utils.crypto import get_random_string

from accounts.mail.letters import Letter, open_letter
from accounts.models import Tenant
from accounts.models.mail import OutgoingMail
from bunker.models import Connection, ConnectionState
from bunker.policy import TEMPLATES
from bunker.services import create_bunker_url, lock_connection
from bunker.services.pairing import bind_connection
from keycast.crypto.schnorr import Keypair
from keys import services as key_services
from tests.portal.conftest import _everything, ada, bob, make_person, other_tenant, owner, sign_in, tenant, visitor
from tests.portal.test_connecting import uri
from tests.portal.test_keys import confirmed

__all__ = ["_everything", "ada", "bob", "make_person", "other_tenant", "owner", "tenant", "visitor"]

POWERFUL = ("messaging", "messaging-own", "full")


def form_for(key: Any, policy: str) -> dict[str, str]:
    once = get_random_string(32)
    return {"key": str(key.id), "name": "Not hers", "policy": policy, "lifetime": "", "once": once}


def test_the_policies_that_open_messages_or_sign_sensitive_kinds_are_known() -> None:
    assert {slug for slug, template in TEMPLATES.items() if template.needs_proof} == set(POWERFUL)


@pytest.mark.parametrize("policy", POWERFUL)
@pytest.mark.parametrize("way", ["connect", "approve"])
def test_a_powerful_app_is_not_connected_without_a_fresh_proof(ada: Any, policy: str, way: str) -> None:
    body = {**form_for(ada.key(), policy), "uri": uri()}
    answer = ada.browser.post(f"/apps/{way}/", body)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/")
    assert not Connection.objects.exists()


@pytest.mark.parametrize("way", ["connect", "approve"])
def test_what_was_typed_is_there_again_after_the_proof(ada: Any, way: str) -> None:
    body = {**form_for(ada.key(), "full"), "uri": uri(), "lifetime": "7"}
    ada.browser.post(f"/apps/{way}/", body)
    confirmed(ada)
    page = ada.browser.get(f"/apps/{way}/").content.decode()
    assert 'value="Not hers"' in page
    assert re.search(r'value="full"[^>]*checked|checked[^>]*value="full"', page)
    answer = ada.browser.post(f"/apps/{way}/", body)
    assert answer.status_code == (200 if way == "connect" else 302)
    assert Connection.objects.get().policy_slug == "full"
    assert "Not hers" not in ada.browser.get(f"/apps/{way}/").content.decode(), "kept once"


def test_an_account_with_codes_alone_signs_in_again(ada: Any) -> None:
    ada.user.set_unusable_password()
    ada.user.save()
    sign_in(ada.browser, ada.user, ada.tenant)
    answer = ada.browser.post("/apps/connect/", form_for(ada.key(), "full"))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")
    assert not Connection.objects.exists()


def test_an_app_that_only_posts_needs_no_proof(ada: Any) -> None:
    assert ada.browser.post("/apps/connect/", form_for(ada.key(), "social")).status_code == 200


def test_locks_are_not_lifted_without_a_fresh_proof(ada: Any) -> None:
    key = ada.key()
    app = paired(ada, key)
    lock_connection(actor=ada.actor, connection=app)
    for path in (f"/apps/{app.id}/unlock/", f"/apps/{app.id}/lift-narrowing/"):
        assert ada.browser.post(path)["Location"].startswith("/account/")
    key_services.lock_key(actor=ada.actor, key=key)
    assert ada.browser.post(f"/keys/{key.id}/unlock/")["Location"].startswith("/account/")
    app.refresh_from_db()
    key.refresh_from_db()
    assert (app.state, key.state) == ("locked", "locked")
    key_services.disable_key(actor=ada.actor, key=key)
    assert ada.browser.post(f"/keys/{key.id}/enable/")["Location"].startswith("/account/")
    key.refresh_from_db()
    assert key.state == "disabled"
    # Stopping never waits for a proof.
    app.state = ConnectionState.ACTIVE
    app.locked_by = ""
    app.save()
    assert ada.browser.post(f"/apps/{app.id}/lock/")["Location"] == f"/apps/{app.id}/"


@pytest.mark.parametrize(
    ("page", "body"),
    [
        ("look", {"name": "Taken over", "accent": "#6a1b9a"}),
        ("policies", {"policies": ["full"], "default_policy": "full"}),
        ("relays", {"relays": "wss://eve.example.org"}),
    ],
)
def test_a_tenants_settings_take_a_fresh_proof(owner: Any, page: str, body: dict[str, Any]) -> None:
    before = Tenant.objects.values().get(pk=owner.tenant.pk)
    answer = owner.browser.post(f"/settings/{page}/", body)
    assert answer["Location"].startswith("/account/")
    assert Tenant.objects.values().get(pk=owner.tenant.pk) == before
    confirmed(owner)
    kept = owner.browser.get(f"/settings/{page}/").content.decode()
    assert any(text in kept for text in ("Taken over", "wss://eve.example.org")) or page == "policies"
    assert owner.browser.post(f"/settings/{page}/", body)["Location"] == f"/settings/{page}/"
    assert Tenant.objects.values().get(pk=owner.tenant.pk) != before


def paired(person: Any, key: Any = None, policy: str = "full") -> Connection:
    issued = create_bunker_url(actor=person.actor, key=key or person.key(), policy_slug=policy, name="Damus")
    secret = issued.uri.rpartition("secret=")[2]
    client = Keypair.generate()[0].public_key_hex
    bind_connection(transport_id=issued.connection.transport_id, client_public_key=client, secret=secret)
    issued.connection.refresh_from_db()
    return issued.connection


def letters() -> list[Letter]:
    return [open_letter(row.sealed, row.id.hex) for row in OutgoingMail.objects.order_by("created_at")]


def address_in(letter: Letter) -> str:
    found = re.search(r"https?://[^/\s]+(/apps/end/\S+)", letter.text)
    assert found
    return found[1]


def test_the_owner_is_mailed_about_a_new_app_and_ends_it_without_signing_in(ada: Any, visitor: Any) -> None:
    app = paired(ada)
    (letter,) = letters()
    assert letter.to == ada.user.email
    assert "Damus" in letter.text
    assert "Everything" in letter.text
    path = address_in(letter)
    page = visitor.get(path)
    assert "End the access of" in page.content.decode()
    app.refresh_from_db()
    assert app.state == "active", "a mail program that looks at the address ends nothing"
    assert visitor.post(path)["Location"] == path
    app.refresh_from_db()
    assert app.state == "revoked"
    assert "no access any more" in visitor.get(path).content.decode()
    assert visitor.post(path).status_code == 302, "twice changes nothing"


def test_an_approved_app_is_mailed_too(ada: Any) -> None:
    ada.browser.post("/apps/approve/", {**form_for(ada.key(), "social"), "uri": uri()})
    assert [letter.to for letter in letters()] == [ada.user.email]


def test_an_unused_bunker_url_mails_nobody(ada: Any) -> None:
    ada.app()
    assert letters() == []


def test_only_the_mails_own_address_ends_its_app(ada: Any, visitor: Any, settings: Any) -> None:
    app = paired(ada)
    path = address_in(letters()[0])
    token = path.rstrip("/").rpartition("/")[2]
    forged = signing.dumps(app.id.hex, salt="another purpose")
    for tried in (forged, token[:-1] + ("A" if token[-1] != "A" else "B"), app.id.hex, "x", signing.dumps("zz")):
        assert visitor.post(f"/apps/end/{tried}/").status_code == 404
    assert visitor.post(path, headers={"host": "unknown.test"}).status_code in {400, 404}
    settings.SECRET_KEY = "another installation's " + "x" * 40
    assert visitor.post(path).status_code == 404
    app.refresh_from_db()
    assert app.state == "active"


def test_an_address_ends_no_other_app_and_works_on_no_other_host(ada: Any, visitor: Any, other_tenant: Any) -> None:
    key = ada.key()
    older, newer = paired(ada, key), paired(ada, key)
    path = address_in(letters()[0])
    assert visitor.post(path, headers={"host": "courier.test"}).status_code == 404
    assert visitor.post(path).status_code == 302
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (older.state, newer.state) == ("revoked", "active")


def test_the_address_ends_with_its_time(ada: Any, visitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = paired(ada)
    path = address_in(letters()[0])
    later = (timezone.now() + timedelta(days=31)).timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    assert visitor.get(path).status_code == 404
    app.refresh_from_db()
    assert app.state == "active"
