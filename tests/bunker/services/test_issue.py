"""Issuing bunker URLs: who may, what is refused, and that the secret is nowhere but in the URL."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bunker.errors import InvalidConnection, TooManyConnections, UnknownPolicy
from bunker.models import Change, Connection, ConnectionState
from bunker.policy import TEMPLATES
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keycast.nostr.uris import BunkerUri
from keys.errors import KeyUnavailable
from keys.services import lock_key
from tests.bunker.services.conftest import House, secret_of


def test_another_member_cannot_connect_an_app_to_my_key(house: House) -> None:
    with pytest.raises((NotFound, NotPermitted)):
        house.issue(actor=Actor.user(house.other))
    assert not Connection.objects.exists()


def test_platform_staff_cannot_connect_an_app(house: House) -> None:
    house.other.is_staff, house.other.staff_role = True, "security-officer"
    house.other.save()
    with pytest.raises(NotPermitted):
        house.issue(actor=Actor.staff(house.other))


def test_an_app_cannot_connect_another(house: House) -> None:
    with pytest.raises(NotPermitted):
        house.issue(actor=Actor.client("ab" * 32))


@pytest.mark.parametrize("slug", ["", "root", "Social", "social "])
def test_it_refuses_an_unknown_policy(house: House, slug: str) -> None:
    with pytest.raises(UnknownPolicy):
        house.issue(policy_slug=slug)


@pytest.mark.parametrize("name", ["", "   ", "\u202e\u200b", "\x00"])
def test_it_refuses_a_name_nobody_could_read(house: House, name: str) -> None:
    with pytest.raises(InvalidConnection):
        house.issue(name=name)


def test_it_refuses_an_end_in_the_past(house: House) -> None:
    with pytest.raises(InvalidConnection):
        house.issue(expires_at=timezone.now() - timedelta(seconds=1))


def test_it_refuses_a_key_that_is_locked(house: House) -> None:
    house_key = lock_key(actor=house.actor, key=house.key)
    with pytest.raises(KeyUnavailable):
        house.issue(key=house_key)


def test_it_refuses_more_apps_than_a_key_may_have(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bunker.services.common.MAX_LIVE_CONNECTIONS", 2)
    house.issue()
    house.issue()
    with pytest.raises(TooManyConnections):
        house.issue()


def test_the_url_names_the_transport_key_and_the_tenants_relay(house: House) -> None:
    uri = BunkerUri.parse(house.issue().uri)
    assert uri.signer_public_key == house.key.transport_keys.get().public_key
    assert uri.signer_public_key != house.key.public_key
    assert uri.relays[0].endswith("://press.example:8000/relay") or uri.relays[0].endswith("press.example/relay")


def test_every_url_has_a_secret_of_its_own_of_128_bits(house: House) -> None:
    secrets = {secret_of(house.issue()) for _ in range(5)}
    assert len(secrets) == 5
    assert all(len(bytes.fromhex(secret)) == 16 for secret in secrets)


def test_the_secret_is_stored_hashed_and_told_to_nobody(house: House) -> None:
    issued = house.issue()
    secret = secret_of(issued)
    row = Connection.objects.filter(id=issued.connection.id).values().get()
    audit = list(AuditRow.objects.values())
    assert secret not in repr(row)
    assert secret not in repr(audit)
    assert secret not in repr(issued)
    assert secret.encode() not in bytes(row["secret_hash"])


def test_it_keeps_a_copy_of_the_policy_and_tells_log_and_workers(house: House) -> None:
    connection = house.issue(name="  My\tapp\u202e ").connection
    assert connection.state == ConnectionState.PENDING
    assert connection.name == "My app"
    assert connection.policy == TEMPLATES["social"].document
    assert AuditRow.objects.filter(tag="bunker:connection:url-issued", connection_id=connection.id.hex).count() == 1
    assert Change.objects.filter(kind="connection", object_id=connection.id.hex).exists()
