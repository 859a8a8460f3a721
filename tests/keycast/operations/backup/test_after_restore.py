"""A restored database brings nothing back that was ended since its dump, and serves nobody before that is sure."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from accounts import services as people
from accounts.models import Membership, Tenant
from accounts.panic.services import lock_deployment
from bunker.errors import PairingRefused
from bunker.models import Connection, ConnectionState
from bunker.services import bind_connection, create_bunker_url, lock_connection, revoke_connection
from keycast.audit import journal_writer
from keycast.audit.entries import Actor
from keycast.audit.errors import DatabaseOutdated
from keycast.audit.models import AuditRow
from keycast.audit.services import verify
from keycast.audit.tags import AuditTag
from keycast.nostr.uris import BunkerUri
from keys import services
from keys.errors import InvalidTransition
from keys.lifecycle import audit
from keys.models import KeyExport, KeyState, PersonalKey, TransportKey
from tests.keys.conftest import make_key, make_tenant, make_user

pytestmark = pytest.mark.django_db
STAFF = Actor.command("test")
CLIENT = "3b" * 32


def after_restore(*arguments):
    """Run the command, and everything it commits."""
    out = io.StringIO()
    with TestCase.captureOnCommitCallbacks(execute=True):
        call_command("after_restore", "--json", "--no-wait", *arguments, stdout=out)
    return json.loads(out.getvalue())


def destroy(key):
    services.schedule_destruction(actor=STAFF, key=key)
    PersonalKey.objects.filter(pk=key.pk).update(destruction_due_at="2020-01-01T00:00:00Z")
    assert services.destroy_due_keys() == 1


def issue(owner, key):
    return create_bunker_url(actor=Actor.user(owner), key=key, policy_slug="social", name="App")


def bind(issued, client=CLIENT):
    transport = TransportKey.objects.get(key=issued.connection.key_id)
    secret = BunkerUri.parse(issued.uri).secret
    return bind_connection(transport_id=transport.id, client_public_key=client, secret=secret)


@pytest.fixture
def tenant():
    return people.create_tenant(actor=STAFF, slug="press", name="Press", host="press.example")


@pytest.fixture
def owner(tenant):
    return make_user(tenant)


@pytest.fixture
def key(owner, tenant):
    with TestCase.captureOnCommitCallbacks(execute=True):
        return make_key(owner, tenant)


def test_an_older_database_refuses_every_verb_until_it_is_up_to_date(key, going_back):
    with going_back():
        destroy(key)
    with pytest.raises(DatabaseOutdated, match="after_restore"):
        services.rename_key(actor=STAFF, key=key, name="Other")
    after_restore()
    services.rename_key(actor=STAFF, key=PersonalKey.objects.get(pk=key.pk), name="Other")


def test_a_destroyed_key_stays_destroyed(key, going_back):
    with going_back():
        destroy(key)
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.ACTIVE
    assert after_restore()["done"]["keys destroyed again"] == 1
    row = PersonalKey.objects.get(pk=key.pk)
    assert (row.state, row.encrypted_secret_key) == (KeyState.DESTROYED, None)
    with pytest.raises(InvalidTransition):
        services.enable_key(actor=STAFF, key=row)
    assert AuditRow.objects.filter(key_id=key.id.hex, tag=AuditTag.KEY_DESTROYED).count() == 1


def test_a_used_secret_and_an_unused_one_are_both_withdrawn(key, owner, going_back):
    with TestCase.captureOnCommitCallbacks(execute=True):
        used, unused = issue(owner, key), issue(owner, key)
    with going_back():
        bind(used)
    assert after_restore()["done"]["one-time secrets withdrawn"] == 2
    for issued in (used, unused):
        with pytest.raises(PairingRefused):
            bind(issued, client="4c" * 32)
    assert not Connection.objects.filter(state=ConnectionState.ACTIVE).exists()


def test_a_revoked_app_stays_out_and_a_locked_one_locked(key, owner, going_back):
    with TestCase.captureOnCommitCallbacks(execute=True):
        revoked, locked = issue(owner, key), issue(owner, key)
        bind(revoked)
        bind(locked, client="4c" * 32)
    with going_back():
        revoke_connection(actor=Actor.user(owner), connection=revoked.connection)
        lock_connection(actor=Actor.user(owner), connection=locked.connection)
    done = after_restore()["done"]
    assert (done["apps ended again"], done["apps locked"]) == (1, 1)
    states = {row.id: row.state for row in Connection.objects.all()}
    assert states[revoked.connection.id] == ConnectionState.REVOKED
    assert states[locked.connection.id] == ConnectionState.LOCKED


def test_a_stopped_key_is_locked_unless_it_was_brought_back(owner, tenant, key, going_back):
    other = make_key(owner, tenant, "Other")
    with going_back():
        for each in (key, other):
            services.lock_key(actor=STAFF, key=each, reason="stolen phone")
        services.unlock_key(actor=STAFF, key=other)
    assert after_restore()["done"]["keys locked"] == 1
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.LOCKED
    assert PersonalKey.objects.get(pk=other.pk).state == KeyState.ACTIVE


def test_a_change_that_the_dump_knows_of_locks_nothing_and_a_later_one_does(owner, tenant, key, going_back):
    other = make_key(owner, tenant, "Other")
    with TestCase.captureOnCommitCallbacks(execute=True):
        audit.write(key, AuditTag.KEY_HALVES_REFRESHED, STAFF)
    with going_back():
        audit.write(other, AuditTag.KEY_HALVES_REFRESHED, STAFF)
    assert after_restore()["done"]["keys locked"] == 1
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.ACTIVE
    assert PersonalKey.objects.get(pk=other.pk).state == KeyState.LOCKED


def test_people_members_and_tenants_that_were_stopped_are_stopped_again(tenant, going_back):
    locked, closed, removed, suspended = (make_user(tenant) for _ in range(4))
    elsewhere = make_tenant()
    with going_back():
        people.lock_user(actor=STAFF, user=locked)
        people.deactivate_user(actor=STAFF, user=closed)
        people.remove_member(actor=STAFF, membership=Membership.objects.get(user=removed), by=None)
        people.suspend_member(actor=STAFF, membership=Membership.objects.get(user=suspended), by=None)
        people.lock_tenant(actor=STAFF, tenant=tenant)
        people.suspend_tenant(actor=STAFF, tenant=elsewhere)
        lock_deployment(actor=STAFF, reason="leak")
    done = after_restore()["done"]
    expected = {"people locked", "accounts closed", "members removed", "members suspended", "tenants locked"}
    assert all(done[name] == 1 for name in expected | {"tenants suspended", "deployments locked"})
    for user in (locked, closed):
        user.refresh_from_db()
    assert locked.locked_at is not None
    assert not closed.is_active
    assert Tenant.objects.get(pk=elsewhere.pk).state == Tenant.State.SUSPENDED
    assert not Membership.objects.filter(user=removed).exists()


def test_keys_made_after_the_dump_are_named_as_lost(owner, tenant, going_back):
    with going_back():
        lost = make_key(owner, tenant)
    assert after_restore()["lost_keys"] == {lost.id.hex: lost.public_key}


def test_a_request_for_an_export_is_cancelled(key, owner, tenant, going_back):
    now = timezone.now()
    KeyExport.objects.create(
        key=key, user=owner, session_hash="0" * 64, credentials="0" * 64, asked_at=now, due_at=now, expires_at=now
    )
    with going_back():
        make_key(owner, tenant)
    assert after_restore()["done"]["exports cancelled"] == 1
    assert KeyExport.objects.get().state == "cancelled"


def test_a_second_restore_of_the_same_dump_is_noticed_too(key, owner, tenant, going_back):
    with going_back():
        with going_back():
            destroy(key)
        after_restore()
        make_key(owner, tenant)
    with pytest.raises(DatabaseOutdated):
        services.rename_key(actor=STAFF, key=key, name="Other")
    after_restore()
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.DESTROYED


def test_a_dry_run_changes_nothing(key, going_back):
    with going_back():
        destroy(key)
    said = after_restore("--dry-run")
    assert (said["dry_run"], said["done"]["keys destroyed again"]) == (True, 1)
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.ACTIVE
    with pytest.raises(DatabaseOutdated):
        services.rename_key(actor=STAFF, key=key, name="Other")


def test_after_restore_is_idempotent_and_the_audit_chain_stays_intact(key, going_back):
    with going_back():
        destroy(key)
    after_restore()
    assert not {name for name, count in after_restore()["done"].items() if count}
    assert verify().is_intact
    assert journal_writer.missing() == []


def test_after_restore_without_a_restore_journal_is_refused(settings, tmp_path):
    settings.RESTORE_JOURNAL = ""
    with pytest.raises(CommandError, match="--endings"):
        call_command("after_restore")
    with pytest.raises(CommandError, match="no file"):
        call_command("after_restore", "--endings", str(tmp_path / "none"))
