"""A connection is served under a seal that fits its row; services give it, and SQL cannot."""

from __future__ import annotations

import base64
import importlib
import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.utils import timezone
from pytest_django import Settings

from bunker import services
from bunker.errors import GrantNotSealed, PairingRefused
from bunker.models import Connection, ConnectionState, RequestRate
from bunker.services import grant_seals
from bunker.services.grant_seals import fingerprint, is_granted, seal
from bunker.worker.loader import NOT_GRANTED, load
from keycast.crypto.schnorr import Keypair
from keys.owner_seals import OWNER
from tests.bunker.support import ACTOR, Home, issue, make_home, unscoped

migration = importlib.import_module("bunker.migrations.0007_connection_seal")


@pytest.fixture
def home(db: None) -> Home:
    return make_home()


def client_key() -> str:
    client, secret = Keypair.generate()
    secret.wipe()
    return client.public_key_hex


def bound(home: Home) -> Connection:
    connection, secret = issue(home)
    services.bind_connection(transport_id=home.transport.id, client_public_key=client_key(), secret=secret)
    return fresh(connection)


def fresh(connection: Connection) -> Connection:
    with unscoped():
        return Connection.objects.select_related("key").get(pk=connection.pk)


def changed(connection: Connection, **values: Any) -> Connection:
    """By SQL, as somebody who can write the database does it."""
    with unscoped():
        Connection.objects.filter(pk=connection.pk).update(**values)
    return fresh(connection)


CHANGES: dict[str, dict[str, Any]] = {
    "client": {"client_public_key": "ab" * 32},
    "policy": {"policy": {"version": 1, "rules": [{"effect": "allow", "methods": ["sign_event"], "kinds": "any"}]}},
    "no policy": {"policy": None},
    "narrowing": {"requested_permissions": "sign_event:0"},
    "end": {"expires_at": timezone.now() + timedelta(days=9)},
    "request rate": {"request_rate": RequestRate.MACHINE},
    "state": {"state": ConnectionState.LOCKED},
    "no seal": {"seal": ""},
    "another seal": {"seal": "0" * 64},
    "odd seal": {"seal": "\N{SNOWMAN}"},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_row_that_was_changed_past_the_services_is_not_granted(home: Home, kind: str) -> None:
    connection = bound(home)
    assert is_granted(connection)
    values = CHANGES[kind]
    if kind == "no policy":
        connection.policy = None  # the column takes no NULL
        assert not is_granted(connection)
        return
    assert not is_granted(changed(connection, **values))
    found = load([home.transport.id]).signers[home.transport.public_key].clients
    [record] = found.values()
    assert (record.refusal, record.policy) == (NOT_GRANTED, None)


@pytest.mark.parametrize("field", ["id", "tenant_id", "key_id", "transport_id"])
def test_a_seal_fits_no_other_row(home: Home, field: str) -> None:
    connection = bound(home)
    setattr(connection, field, uuid4())
    assert not is_granted(connection)


def test_a_locked_row_that_is_made_active_by_hand_stays_refused(home: Home) -> None:
    connection = bound(home)
    locked = services.lock_connection(actor=ACTOR, connection=connection)
    assert is_granted(locked)
    assert not is_granted(changed(locked, state=ConnectionState.ACTIVE, locked_by=""))


def test_an_ended_row_has_no_seal_to_come_back_with(home: Home) -> None:
    connection = bound(home)
    services.revoke_connection(actor=ACTOR, connection=connection)
    back = changed(connection, state=ConnectionState.ACTIVE, ended_at=None, end_reason="")
    assert back.seal == ""
    assert not is_granted(back)


def test_a_bunker_url_that_nobody_issued_lets_nobody_in(home: Home) -> None:
    connection, secret = issue(home)
    wide = {"version": 1, "rules": [{"effect": "allow", "methods": ["sign_event"], "kinds": "any"}]}
    soon = timezone.now() + timedelta(minutes=9)
    for values in ({"policy": wide}, {"secret_expires_at": soon}, {"seal": ""}):
        row = changed(connection, **values)
        with pytest.raises(PairingRefused):
            services.bind_connection(transport_id=home.transport.id, client_public_key=client_key(), secret=secret)
        assert fresh(row).state == ConnectionState.PENDING
        changed(connection, policy=connection.policy, secret_expires_at=connection.secret_expires_at)
    assert load([home.transport.id]).signers[home.transport.public_key].pairing_until == 0.0


def test_nobody_makes_good_by_hand_what_nobody_granted(home: Home) -> None:
    locked = services.lock_connection(actor=ACTOR, connection=bound(home))
    changed(locked, client_public_key="cd" * 32, requested_permissions="ping")
    for verb in (services.unlock_connection, services.lift_narrowing):
        with pytest.raises(GrantNotSealed):
            verb(actor=ACTOR, connection=fresh(locked))
    with pytest.raises(GrantNotSealed):
        services.set_request_rate(actor=ACTOR, connection=fresh(locked), rate=RequestRate.MACHINE)
    assert services.revoke_connection(actor=ACTOR, connection=fresh(locked)).state == ConnectionState.REVOKED


def test_locking_what_nobody_granted_seals_nothing(home: Home) -> None:
    connection = changed(bound(home), client_public_key="cd" * 32)
    assert services.lock_connection(actor=ACTOR, connection=connection).seal == ""


def test_what_services_do_keeps_the_seal(home: Home) -> None:
    connection, secret = issue(home, expires_at=timezone.now() + timedelta(days=1))
    assert is_granted(fresh(connection))
    services.bind_connection(
        transport_id=home.transport.id,
        client_public_key=client_key(),
        secret=secret,
        requested_permissions="sign_event:1",
    )
    assert is_granted(fresh(connection))
    services.lift_narrowing(actor=ACTOR, connection=connection)
    assert is_granted(fresh(connection))
    services.set_request_rate(actor=ACTOR, connection=connection, rate=RequestRate.MACHINE)
    assert is_granted(fresh(connection))
    services.rename_connection(actor=ACTOR, connection=connection, name="Other")
    services.lock_connection(actor=ACTOR, connection=connection)
    services.unlock_connection(actor=ACTOR, connection=connection)
    assert is_granted(fresh(connection))
    [record] = load([home.transport.id]).signers[home.transport.public_key].clients.values()
    assert record.refusal is None


def test_a_policy_has_one_text_however_it_is_written_down() -> None:
    assert fingerprint({"b": [1, 2], "a": "\N{SNOWMAN}"}) == fingerprint({"a": "\N{SNOWMAN}", "b": (1, 2)})
    assert fingerprint([]) != fingerprint({})


def test_a_new_field_key_opens_what_the_last_one_sealed_until_it_is_sealed_anew(home: Home, settings: Settings) -> None:
    first, second = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    settings.FIELD_KEYS = [first]
    home.key.owner_seal = OWNER.of(home.key)
    connection, forged = bound(home), changed(bound(home), client_public_key="ef" * 32)
    settings.FIELD_KEYS = [second, first]
    assert is_granted(fresh(connection))
    assert grant_seals.renew() == 1
    settings.FIELD_KEYS = [second]
    assert is_granted(fresh(connection))
    assert not is_granted(fresh(forged))
    assert grant_seals.renew() == 0


def test_connections_of_an_installed_database_get_their_seals_once(home: Home) -> None:
    connections = [bound(home), issue(home)[0], services.lock_connection(actor=ACTOR, connection=bound(home))]
    ended = services.revoke_connection(actor=ACTOR, connection=bound(home))
    with unscoped():
        Connection.objects.update(seal="")
    migration.seal_all(apps, None)
    assert all(is_granted(fresh(connection)) for connection in connections)
    assert fresh(ended).seal == ""


def test_a_seal_is_under_the_key_of_grants_alone(home: Home, settings: Settings) -> None:
    connection = bound(home)
    settings.SECRET_KEY = "another key of this deployment " * 2
    assert not is_granted(connection)
    assert seal(connection, connection.policy) != connection.seal
    assert isinstance(connection.bound_at, datetime)
