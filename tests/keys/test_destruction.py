"""A key is out of use at once and destroyed when due; nothing of its material is left, and a tombstone stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError, NotPermitted
from keys import selectors, services
from keys.errors import (
    InvalidTransition,
)
from keys.models import KeyState, TransportKey
from keys.signing.kms import registry
from keys.signing.local import sealing_context_of

from .conftest import fresh, make_key, make_tenant, make_user, tags_of


class TestDestruction:
    def test_it_is_out_of_use_at_once_and_destroyed_only_when_due(self, key, user, settings):
        settings.KEY_DESTRUCTION_DAYS = 30
        services.schedule_destruction(actor=Actor.user(user), key=key)
        row = fresh(key)
        assert row.state == KeyState.DESTRUCTION_SCHEDULED
        assert timedelta(days=29) < row.destruction_due_at - timezone.now() <= timedelta(days=30)
        assert services.destroy_due_keys() == 0
        assert services.destroy_due_keys(now=timezone.now() + timedelta(days=29)) == 0
        assert fresh(key).encrypted_secret_key is not None

    def test_a_key_whose_destruction_was_cancelled_is_never_destroyed(self, key, user):
        services.schedule_destruction(actor=Actor.user(user), key=key)
        assert services.cancel_destruction(actor=Actor.user(user), key=key).state == KeyState.DISABLED
        assert services.destroy_due_keys(now=timezone.now() + timedelta(days=400)) == 0
        assert services.enable_key(actor=Actor.user(user), key=key).state == KeyState.ACTIVE

    @pytest.mark.opens_keys
    def test_a_destroyed_key_leaves_a_tombstone_that_blocks_its_return(self, key, user, tenant):
        from keys.errors import KeyExists
        from keys.signing.vault import unlock

        ref = selectors.key_ref(key)
        with unlock(ref.sealed, sealing_context_of(ref), registry.provider("local")) as keypair:
            secret = keypair.secret()
        services.schedule_destruction(actor=Actor.user(user), key=key)
        assert services.destroy_due_keys(now=timezone.now() + timedelta(days=31)) == 1
        assert services.destroy_due_keys(now=timezone.now() + timedelta(days=31)) == 0
        row = fresh(key)
        assert (row.state, row.encrypted_secret_key, row.public_key) == ("destroyed", None, key.public_key)
        with scopes_disabled():
            transport = TransportKey.objects.get(key=key)
        assert transport.retired_at is not None
        assert not transport.is_current
        assert tags_of(key)[-1] == "keys:key:destroyed"
        with pytest.raises(KeyExists):
            services.import_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", secret=secret)
        assert not selectors.keys_of(user, tenant).exists()
        for verb in (services.unlock_key, services.enable_key, services.cancel_destruction):
            with pytest.raises((InvalidTransition, NotPermitted)):
                verb(actor=Actor.command("test"), key=key)

    def test_if_it_cannot_be_recorded_nothing_is_destroyed(self, key, user, monkeypatch):
        from keys.lifecycle import audit

        services.schedule_destruction(actor=Actor.user(user), key=key)

        def fail(*_, **__):
            raise KeycastError

        monkeypatch.setattr(audit, "record", fail)
        with pytest.raises(KeycastError):
            services.destroy_due_keys(now=timezone.now() + timedelta(days=31))
        assert fresh(key).encrypted_secret_key is not None


@pytest.mark.django_db(transaction=True)
def test_no_byte_of_the_sealed_material_is_left_in_the_database_file():
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL keeps dead rows until VACUUM: docs/security-model.md says so")
    from pathlib import Path

    tenant = make_tenant()
    user = make_user(tenant)
    keys = [make_key(user, tenant) for _ in range(5)]
    blobs = [bytes(key.encrypted_secret_key) for key in keys]
    blobs += [bytes(selectors.transport_of(key).encrypted_secret_key) for key in keys]
    for key in keys:
        services.schedule_destruction(actor=Actor.user(user), key=key)
    path = Path(connection.settings_dict["NAME"])

    def found():
        content = b"".join(file.read_bytes() for file in (path, path.with_name(path.name + "-wal")) if file.exists())
        return sum(blob[offset : offset + 16] in content for blob in blobs for offset in (3, 40, 80, 100))

    assert found() == 4 * len(blobs)
    assert services.destroy_due_keys(now=timezone.now() + timedelta(days=31)) == 5
    assert found() == 0
