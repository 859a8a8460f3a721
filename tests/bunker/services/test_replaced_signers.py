"""Remote-signer keys after their rotation: who is still served, who moves, and when the old ones end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bunker.models import Change, Connection, ConnectionState
from bunker.policy import Allow, Decision, Deny, RequestedUse
from bunker.services import bind_connection
from bunker.services.transports import retire_transports
from bunker.worker.loader import load
from keycast.audit.models import AuditRow
from keycast.nostr.uris import BunkerUri
from keys.models import KeyState, PersonalKey, RotationState, TransportKey
from keys.rotation import runner, services
from keys.rotation.errors import RotationError
from keys.rotation.scope import RotationScope
from keys.services import create_key
from tests.bunker.services.conftest import COMMAND, House, secret_of

CLIENT = "11" * 32


def bound(house: House, client: str = CLIENT) -> Connection:
    issued = house.issue()
    found = bind_connection(
        transport_id=issued.connection.transport_id, client_public_key=client, secret=secret_of(issued)
    )
    return Connection.objects.get(pk=found.connection_id)


def rotate(house: House, grace_days: int | None = None) -> None:
    started = services.start(
        actor=COMMAND, kind="transport", scope=RotationScope.of_key(house.key), grace_days=grace_days
    )
    assert runner.run_for(started.id).state == RotationState.DONE


def served(connection: Connection) -> bool:
    return load().signers[connection.transport.public_key].clients[CLIENT].refusal is None


@pytest.mark.parametrize("days", [-1, 10_000])
def test_an_impossible_grace_period_is_refused(house: House, days: int) -> None:
    with pytest.raises(RotationError):
        services.start(actor=COMMAND, kind="transport", scope="all", grace_days=days)


def test_a_key_that_is_about_to_be_destroyed_gets_no_new_one(house: House) -> None:
    due = timezone.now() + timedelta(days=3)
    PersonalKey.objects.filter(pk=house.key.pk).update(state=KeyState.DESTRUCTION_SCHEDULED, destruction_due_at=due)
    rotate(house)
    assert house.key.transport_keys.count() == 1


def test_a_connected_app_stays_on_the_old_key_and_a_new_url_names_the_new_one(house: House) -> None:
    app = bound(house)
    waiting = house.issue()
    rotate(house)
    old, new = house.key.transport_keys.order_by("created_at")
    assert (old.is_current, new.is_current) == (False, True)
    assert served(app)
    assert BunkerUri.parse(house.issue().uri).signer_public_key == new.public_key
    later = bind_connection(transport_id=old.id, client_public_key="22" * 32, secret=secret_of(waiting))
    assert later.is_new, "a URL that was issued before still works"
    assert retire_transports() == 0
    assert AuditRow.objects.filter(tag="keys:transport-key:rotated").count() == 1


def test_an_app_that_connects_anew_moves(house: House) -> None:
    old = bound(house)
    rotate(house)
    new = bound(house)
    old.refresh_from_db()
    assert old.state == ConnectionState.REVOKED
    assert new.transport_id != old.transport_id
    assert new.state == ConnectionState.ACTIVE


def test_the_old_key_ends_a_day_after_its_last_app(house: House) -> None:
    old = bound(house)
    rotate(house)
    bound(house)
    assert retire_transports() == 0, "the app may still ask, and is told"
    sealed = bytes(old.transport.encrypted_secret_key)
    Connection.objects.filter(pk=old.pk).update(ended_at=timezone.now() - timedelta(hours=25))
    assert retire_transports() == 1
    row = TransportKey.objects.get(pk=old.transport_id)
    assert row.retired_at is not None
    assert bytes(row.encrypted_secret_key) != sealed
    assert row.public_key not in load().signers
    assert AuditRow.objects.filter(tag="keys:transport-key:retired").count() == 1
    assert retire_transports() == 0


def test_one_that_no_app_uses_ends_at_once(house: House) -> None:
    rotate(house)
    assert retire_transports() == 1


def test_after_the_grace_period_the_apps_on_it_are_revoked_and_told(house: House) -> None:
    app = bound(house)
    rotate(house, grace_days=7)
    assert retire_transports() == 0
    assert served(app)
    TransportKey.objects.filter(pk=app.transport_id).update(ends_at=timezone.now() - timedelta(seconds=1))
    assert retire_transports() == 1
    app.refresh_from_db()
    assert app.state == ConnectionState.REVOKED
    assert "new bunker URL" in app.end_reason
    assert not served(app)


def test_without_grace_they_are_revoked_by_the_next_job(house: House) -> None:
    app = bound(house)
    rotate(house, grace_days=0)
    assert retire_transports() == 1
    app.refresh_from_db()
    assert app.state == ConnectionState.REVOKED


def test_a_grace_period_holds_for_those_replaced_before_too(house: House) -> None:
    first = bound(house)
    rotate(house)
    second = bound(house, "22" * 32)
    rotate(house, grace_days=0)
    assert retire_transports() == 2
    for app in (first, second):
        app.refresh_from_db()
        assert app.state == ConnectionState.REVOKED


def test_every_key_of_a_tenant_gets_one(house: House) -> None:
    create_key(actor=COMMAND, tenant=house.tenant, user=house.other, name="Bob")
    started = services.start(actor=COMMAND, kind="transport", scope=RotationScope.of_tenant(house.tenant))
    row = runner.run_for(started.id)
    assert (row.state, row.done, row.total) == (RotationState.DONE, 2, 2)
    assert TransportKey.objects.filter(is_current=True).count() == 2
    assert TransportKey.objects.count() == 4


def test_the_workers_let_the_apps_of_a_replaced_key_read_alone(house: House) -> None:
    app = bound(house)
    note = RequestedUse("sign_event", house.key.public_key or "", kind=1)

    def decision() -> Decision:
        policy = load().signers[app.transport.public_key].clients[CLIENT].policy
        assert policy is not None
        return policy.decide(note)

    assert isinstance(decision(), Allow)
    changes = Change.objects.count()
    started = services.start(actor=house.actor, kind="identity", scope=RotationScope.of_key(house.key))
    assert runner.run_for(started.id).state == RotationState.DONE
    assert isinstance(decision(), Deny)
    assert Change.objects.count() > changes, "running workers hear of it"
