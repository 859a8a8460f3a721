"""A restored database goes on with no old rotation, and lets no replaced key speak."""

from __future__ import annotations

import pytest

from keys.models import KeyState, PersonalKey, RotationState
from keys.rotation import runner, services
from keys.rotation.scope import RotationScope
from tests.keycast.operations.backup.test_after_restore import STAFF, after_restore, key, owner, tenant

pytestmark = pytest.mark.django_db
__all__ = ["key", "owner", "tenant"]


def test_a_key_that_was_replaced_since_the_dump_is_locked(key, going_back):
    with going_back():
        started = services.start(actor=STAFF, kind="identity", scope=RotationScope.of_key(key))
        assert runner.run_for(started.id).state == RotationState.DONE
    found = after_restore()
    assert found["done"]["replaced keys locked"] == 1
    assert len(found["lost_keys"]) == 1, "its successor is lost with the dump, and named"
    row = PersonalKey.objects.get(pk=key.pk)
    assert (row.state, row.replaced_at) == (KeyState.LOCKED, None)


def test_after_restore_does_not_lock_a_key_replaced_before_the_dump(key):
    started = services.start(actor=STAFF, kind="identity", scope=RotationScope.of_key(key))
    runner.run_for(started.id)
    assert "replaced keys locked" not in after_restore()["done"]
    assert PersonalKey.objects.get(pk=key.pk).state == KeyState.ACTIVE


def test_a_rotation_that_was_under_way_is_cancelled(key):
    rotation = services.start(actor=STAFF, kind="transport", scope="all")
    assert after_restore()["done"]["rotations cancelled"] == 1
    rotation.refresh_from_db()
    assert rotation.state == RotationState.CANCELLED
