"""What happens to a connection after it was made: lock, unlock, revoke, log out, rename."""

from __future__ import annotations

import pytest

from accounts.services import add_member, create_user, make_staff
from bunker.errors import ConnectionEnded
from bunker.models import Change, Connection, ConnectionState
from bunker.services import (
    approve_nostrconnect,
    bind_connection,
    lifecycle,
    lock_connection,
    logout_connection,
    rename_connection,
    revoke_connection,
    unlock_connection,
)
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keycast.nostr.nip01 import parse_event, verify_event
from keycast.nostr.nip46 import parse_response
from keycast.nostr.uris import NostrConnectUri
from tests.bunker.services.conftest import COMMAND, House, secret_of

CLIENT = "11" * 32


@pytest.fixture
def active(house: House) -> Connection:
    issued = house.issue()
    transport = house.key.transport_keys.get()
    bind_connection(transport_id=transport.id, client_public_key=CLIENT, secret=secret_of(issued))
    return Connection.objects.get()


@pytest.mark.parametrize("service", [lock_connection, unlock_connection, revoke_connection])
def test_a_stranger_to_the_key_cannot_touch_its_apps(house: House, active: Connection, service: object) -> None:
    with pytest.raises((NotFound, NotPermitted)):
        service(actor=Actor.user(house.other), connection=active)  # type: ignore[operator]
    with pytest.raises((NotFound, NotPermitted)):
        rename_connection(actor=Actor.user(house.other), connection=active, name="Mine")
    assert Connection.objects.get().state == ConnectionState.ACTIVE


def test_an_app_that_is_locked_or_ended_has_its_reading_grant_ended(
    house: House, active: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[object, str]] = []
    monkeypatch.setattr(lifecycle, "end_reading_of_app", lambda *, key_id, client: ended.append((key_id, client)))
    lock_connection(actor=house.actor, connection=active)
    unlock_connection(actor=house.actor, connection=active)
    assert ended == [(house.key.id, CLIENT)]
    revoke_connection(actor=house.actor, connection=active)
    assert ended == [(house.key.id, CLIENT)] * 2


def test_what_staff_locked_its_owner_cannot_unlock(house: House, active: Connection) -> None:
    staff = Actor.staff(make_staff(actor=COMMAND, user=house.other))
    lock_connection(actor=staff, connection=active)
    with pytest.raises(NotPermitted, match="the platform's staff"):
        unlock_connection(actor=house.actor, connection=active)
    assert unlock_connection(actor=staff, connection=active).state == ConnectionState.ACTIVE


def test_what_the_owner_locked_staff_and_administrators_cannot_unlock(house: House, active: Connection) -> None:
    lock_connection(actor=house.actor, connection=active)
    leader = create_user(actor=COMMAND, email="lea@press.example")
    add_member(actor=COMMAND, tenant=house.tenant, user=leader, role="admin")
    staff = Actor.staff(make_staff(actor=COMMAND, user=house.other))
    for actor in (staff, Actor.user(leader)):
        with pytest.raises(NotPermitted, match="its owner"):
            unlock_connection(actor=actor, connection=active)


def test_a_lock_of_higher_rank_stays_when_the_owner_locks_too(house: House, active: Connection) -> None:
    staff = Actor.staff(make_staff(actor=COMMAND, user=house.other))
    lock_connection(actor=house.actor, connection=active)
    lock_connection(actor=staff, connection=active)
    lock_connection(actor=house.actor, connection=active)
    with pytest.raises(NotPermitted):
        unlock_connection(actor=house.actor, connection=active)
    assert Connection.objects.get().state == ConnectionState.LOCKED


def test_an_ended_connection_stays_ended(house: House, active: Connection) -> None:
    revoke_connection(actor=house.actor, connection=active, reason="Lost phone")
    for service in (lock_connection, unlock_connection):
        with pytest.raises(ConnectionEnded):
            service(actor=house.actor, connection=active)
    assert revoke_connection(actor=house.actor, connection=active).end_reason == "Lost phone"
    assert AuditRow.objects.filter(tag="bunker:connection:revoked").count() == 1


@pytest.mark.parametrize("client", ["22" * 32, "", "11" * 31])
def test_a_stranger_cannot_log_a_client_out(active: Connection, client: str) -> None:
    assert logout_connection(connection_id=active.id, client_public_key=client) is None
    assert Connection.objects.get().state == ConnectionState.ACTIVE


def test_a_client_logs_itself_out(active: Connection) -> None:
    ended = logout_connection(connection_id=active.id, client_public_key=CLIENT)
    assert ended is not None
    assert Connection.objects.get().state == ConnectionState.LOGGED_OUT


def test_locking_and_unlocking_tells_the_workers_each_time(house: House, active: Connection) -> None:
    before = Change.objects.count()
    assert lock_connection(actor=house.actor, connection=active).state == ConnectionState.LOCKED
    assert unlock_connection(actor=house.actor, connection=active).state == ConnectionState.ACTIVE
    assert Change.objects.filter(object_id=active.id.hex).count() >= 2
    assert Change.objects.count() == before + 2


def test_approving_a_client_stores_an_answer_only_it_can_read(house: House) -> None:
    from bunker.models import Request

    client, secret = Keypair.generate()
    uri = NostrConnectUri.parse(
        f"nostrconnect://{client.public_key_hex}?relay=wss%3A%2F%2Frelay.example&secret=0s8j2djs&perms=sign_event%3A1"
        "&name=My%20Client"
    )
    connection = approve_nostrconnect(actor=house.actor, key=house.key, uri=uri, policy_slug="social")
    stored = Request.objects.get()
    reply = parse_event(stored.reply)
    assert verify_event(reply)
    assert "0s8j2djs" not in repr(Request.objects.values().get()) + repr(Connection.objects.values().get())
    opened = nip44.decrypt(reply.content, nip44.conversation_key(secret, bytes.fromhex(reply.pubkey)))
    assert parse_response(opened).result == "0s8j2djs"
    assert (connection.name, connection.requested_permissions) == ("My Client", "sign_event:1")
    assert connection.client_public_key == client.public_key_hex
