"""The key ring compared with the database: what is told, and what is left alone."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.emulators.kms.store import Algorithm, State
from keys.hsm.inventory import runs
from keys.hsm.inventory.compare import Discrepancy
from keys.models import HsmOrphan, KeyState, OrphanState, Succession
from tests.keys.hsm.google.inventory import change, kinds, name_of, owner, ring, row_of, take, tenant, version

__all__ = ["owner", "ring", "tenant"]


def test_a_ring_that_agrees_gives_no_finding(owner, tenant, keeper):
    for _ in range(3):
        row_of(owner, tenant, keeper)
    inventory = take()
    assert (inventory.state, kinds(inventory), inventory.done, inventory.total) == ("done", [], 3, 3)
    assert inventory.report["in_hsm"] == 3
    assert runs.attention_count(inventory) == 0


def test_a_key_that_no_row_names_is_told_and_left_alone(keeper, ring):
    name = name_of()
    keeper.create(name.rpartition("/")[2])
    keeper.check(name)
    before = dict(ring.calls)
    inventory = take()
    assert kinds(inventory) == [Discrepancy.ORPHAN]
    assert HsmOrphan.objects.get().name == name
    changing = {"CreateCryptoKey", "DestroyCryptoKeyVersion", "UpdateCryptoKeyVersion", "CreateCryptoKeyVersion"}
    assert all(ring.calls.get(call, 0) == before.get(call, 0) for call in changing)


def test_what_a_rotation_of_hsm_keys_left_behind_is_told_and_wants_nobody_to_look(keeper):
    name = name_of()
    keeper.create(name.rpartition("/")[2])
    keeper.disable(keeper.check(name).version)
    inventory = take()
    assert kinds(inventory) == [Discrepancy.RETIRED]
    assert runs.attention_count(inventory) == 0
    assert HsmOrphan.objects.get().state == OrphanState.OPEN


def test_names_that_are_not_ours_are_shown_apart_and_never_touched(keeper, ring):
    for key_id in ("backup", "user-1", f"user-{uuid.uuid4()}x", f"USER-{uuid.uuid4()}"):
        keeper.create(key_id)
    inventory = take()
    assert kinds(inventory) == []
    assert inventory.report["foreign_count"] == len(inventory.report["foreign"]) == 4
    assert "ListCryptoKeyVersions" not in ring.calls
    assert not HsmOrphan.objects.exists()


def test_what_is_left_of_destroyed_keys_is_no_orphan(keeper):
    name = name_of()
    keeper.create(name.rpartition("/")[2])
    keeper.destroy(keeper.check(name).version)
    assert kinds(take()) == []


def test_a_row_whose_key_is_not_there_is_told(owner, tenant, keeper, ring):
    key = row_of(owner, tenant, keeper)
    ring.store.keys.clear()
    inventory = take()
    assert kinds(inventory) == [Discrepancy.MISSING]
    assert inventory.report["findings"][0]["key_id"] == key.id.hex


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.DISABLED, Discrepancy.DISABLED),
        (State.DESTROY_SCHEDULED, Discrepancy.ENDING),
        (State.DESTROYED, Discrepancy.MISSING),
        (State.GENERATION_FAILED, Discrepancy.BROKEN),
        (State.IMPORT_FAILED, Discrepancy.BROKEN),
    ],
)
def test_a_version_that_cannot_be_used_is_told(owner, tenant, keeper, ring, state, kind):
    found = version(ring, row_of(owner, tenant, keeper))
    found.state, found.destroy_at = int(state), timezone.now().timestamp() + 9999
    assert kinds(take()) == [kind]


def test_a_version_of_another_kind_is_told(owner, tenant, keeper, ring):
    version(ring, row_of(owner, tenant, keeper)).protection_level = 1
    assert kinds(take()) == [Discrepancy.WRONG_KIND]
    found = version(ring, row_of(owner, tenant, keeper))
    found.algorithm = int(Algorithm.EC_SIGN_P256_SHA256)
    assert sorted(kinds(take())) == [Discrepancy.WRONG_KIND, Discrepancy.WRONG_KIND]


def test_another_public_key_is_told(owner, tenant, keeper):
    change(row_of(owner, tenant, keeper), authoriser_public_key="02" + os.urandom(32).hex())
    assert kinds(take()) == [Discrepancy.WRONG_PUBLIC_KEY]


def test_a_second_usable_version_is_told_but_not_while_one_replaces_the_other(owner, tenant, keeper, ring):
    key = row_of(owner, tenant, keeper)
    ring.store.add_version(ring.store.keys[key.kms_key_name])
    assert kinds(take()) == [Discrepancy.SPARE_VERSION]
    with scopes_disabled():
        Succession.objects.create(
            key=key,
            old_version=key.kms_key_version,
            old_public_key=key.authoriser_public_key,
            kms_key_name=key.kms_key_name,
        )
    assert kinds(take()) == []


def test_a_key_that_a_succession_names_is_no_orphan(owner, tenant, keeper):
    key, new = row_of(owner, tenant, keeper), name_of()
    keeper.create(new.rpartition("/")[2])
    keeper.check(new)
    with scopes_disabled():
        Succession.objects.create(
            key=key, old_version=key.kms_key_version, old_public_key=key.authoriser_public_key, kms_key_name=new
        )
    assert kinds(take()) == []


def test_a_stopped_key_that_is_enabled_in_the_hsm_wants_nobody_to_look(owner, tenant, keeper):
    row_of(owner, tenant, keeper, state=KeyState.DISABLED)
    inventory = take()
    assert kinds(inventory) == [Discrepancy.STILL_ENABLED]
    assert runs.attention_count(inventory) == 0


def test_a_stopped_key_that_is_disabled_in_the_hsm_is_as_it_should_be(owner, tenant, keeper):
    key = row_of(owner, tenant, keeper, state=KeyState.DISABLED)
    keeper.disable(key.kms_key_version)
    assert kinds(take()) == []


def test_keys_that_wait_or_leave_for_long_are_told(owner, tenant, keeper):
    empty = {"public_key": None, "encrypted_half_key": None, "kms_key_version": "", "authoriser_public_key": ""}
    waiting = row_of(owner, tenant, keeper, state=KeyState.PENDING, state_reason="The HSM is busy.", **empty)
    ended = row_of(owner, tenant, keeper, state=KeyState.FAILED, **empty)
    assert kinds(take()) == []
    change(waiting, created_at=timezone.now() - timedelta(minutes=40))
    change(ended, state_changed_at=timezone.now() - timedelta(hours=2))
    inventory = take()
    assert sorted(kinds(inventory)) == [Discrepancy.LEFT_OVER, Discrepancy.MAKING_LONG]
    assert "The HSM is busy." in str(inventory.report["findings"])
