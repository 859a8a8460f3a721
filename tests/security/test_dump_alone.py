"""A dump of the database, and nothing else: what can be done with it (threats L7, C5).

That keys do not open without their key-encryption key, tests/keys/signing/kms/test_local_kek.py and test_envelope.py
show."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client as Browser

from accounts.models import Invitation, Role
from accounts.services import add_member, create_tenant, create_user, invite
from bunker import services
from bunker.errors import PairingRefused
from bunker.models import Connection
from keys.services import create_key
from tests.bunker.support import ACTOR, unscoped

HOST, EMAIL, PASSWORD = "dump.localhost", "dump@example.org", "correct horse battery"


@pytest.fixture
def dumped(db: None) -> Any:
    """A tenant in use: a signed-in member with a key, an unused bunker URL, a pending invitation."""
    cache.clear()
    with unscoped():
        tenant = create_tenant(actor=ACTOR, slug="dump", name="Dump", host=HOST)
        user = create_user(actor=ACTOR, email=EMAIL, password=PASSWORD)
        add_member(actor=ACTOR, tenant=tenant, user=user, role=Role.OWNER)
        key = create_key(actor=ACTOR, tenant=tenant, user=user, name="Mine")
        services.create_bunker_url(actor=ACTOR, key=key, policy_slug="full", name="App")
        invite(actor=ACTOR, tenant=tenant, email="next@example.org", by=None)
    browser = Browser(headers={"host": HOST})
    browser.post("/account/login/", {"login": EMAIL, "password": PASSWORD})
    assert browser.get("/keys/").status_code == 200
    return user


def test_no_session_of_a_dump_signs_anybody_in(dumped: Any) -> None:
    rows = list(Session.objects.all())
    assert rows
    for row in rows:
        for cookie in (row.session_key, row.session_data, row.session_data[:40]):
            thief = Browser(headers={"host": HOST})
            thief.cookies["session"] = cookie
            assert thief.get("/keys/").status_code == 302
        assert EMAIL not in row.session_data
        assert dumped.id.hex not in row.session_data


def test_no_secret_hash_of_a_dump_pairs_an_app_and_no_token_hash_is_an_invitation(dumped: Any) -> None:
    with unscoped():
        connection = Connection.objects.get()
        stored = bytes(connection.secret_hash or b"")
        for guess in (stored.hex(), stored.decode("latin-1"), hashlib.sha256(stored).hexdigest()):
            with pytest.raises(PairingRefused):
                services.bind_connection(
                    transport_id=connection.transport_id, client_public_key="ab" * 32, secret=guess
                )
        token = bytes(Invitation.objects.get().token_hash)
    for guess in (token.hex(), token.hex()[:43]):
        assert Browser(headers={"host": HOST}).get(f"/account/invitation/{guess}/").status_code == 404
