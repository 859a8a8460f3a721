"""A NetHSM compared with the database, namespace by namespace."""

from __future__ import annotations

import uuid

import pytest
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.emulators.nethsm.store import make_key
from keys import services
from keys.hsm.inventory import orphans, runs
from keys.hsm.inventory.compare import Discrepancy
from keys.hsm.inventory.listing import hsm_key_readers
from keys.hsm.nethsm import names
from keys.models import HsmInventory, HsmOrphan, InventoryState, OrphanState, PersonalKey
from tests.keys.hsm.nethsm.conftest import misbehave

ACTOR = Actor.command("test")


@pytest.fixture(autouse=True)
def device(world, emulator):
    hsm_key_readers.cache_clear()
    yield emulator.app
    hsm_key_readers.cache_clear()


@pytest.fixture
def key(world, owner, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        return services.create_key(actor=Actor.user(owner), tenant=world, user=owner, name="Main", key_mode="hsm")


def take():
    inventory = runs.start(actor=ACTOR, provider="nethsm")
    for _ in range(10):
        inventory = runs.advance(inventory.pk)
        if inventory.state != InventoryState.RUNNING:
            break
    return HsmInventory.objects.get(pk=inventory.pk)


def kinds(inventory):
    return [finding["kind"] for finding in inventory.report.get("findings", [])]


def place(key):
    return names.split(key.kms_key_name)


def test_a_device_that_agrees_gives_no_finding_and_is_not_changed(key, device):
    device.calls.clear()
    inventory = take()
    assert (inventory.state, kinds(inventory), inventory.done) == ("done", [], 1)
    assert {operation for operation, _ in device.calls} == {"namespaces", "keys", "get_key", "public_key"}


def test_a_key_that_no_row_names_is_told(key, device):
    namespace, _ = place(key)
    device.store.keys[namespace, f"k{uuid.uuid4().hex}"] = make_key(["BIP340_Signature"])
    device.store.keys[namespace, "backup"] = make_key(["BIP340_Signature"])
    inventory = take()
    assert kinds(inventory) == [Discrepancy.ORPHAN]
    assert inventory.report["foreign"] == [f"{namespace}~backup"]


def test_a_missing_key_a_missing_namespace_and_another_key_are_told(key, device):
    held = device.store.keys.pop(place(key))
    assert kinds(take()) == [Discrepancy.MISSING]
    device.store.keys[place(key)] = make_key(["BIP340_Signature"])
    assert kinds(take()) == [Discrepancy.WRONG_PUBLIC_KEY]
    held.mechanisms = ["ECDSA_Signature"]
    device.store.keys[place(key)] = held
    assert kinds(take()) == [Discrepancy.WRONG_KIND]
    device.store.remove_namespace(place(key)[0])
    device.store.users = {name: user for name, user in device.store.users.items() if not user.namespace}
    assert kinds(take()) == [Discrepancy.MISSING]


def test_namespaces_that_cannot_be_looked_into_are_told_and_never_touched(key, device):
    device.store.namespaces |= {"accounting", f"t{'0' * 32}"}
    inventory = take()
    assert kinds(inventory) == [Discrepancy.UNSEEN, Discrepancy.UNSEEN]
    assert "accounting" in str(inventory.report["findings"])
    assert "does not let Keycast's administrator look" in str(inventory.report["findings"])


def test_without_an_administrator_the_tenants_own_namespaces_are_looked_at(key, device, settings):
    settings.NETHSM_ADMIN_USER, settings.NETHSM_NAMESPACE_PASSWORD = "", settings.NETHSM_ADMIN_PASSWORD
    hsm_key_readers.cache_clear()
    device.store.namespaces |= {"accounting"}
    assert kinds(take()) == []


@pytest.mark.parametrize(("kind", "fields"), [("status", {"status": 503}), ("garbage", {}), ("disconnect", {})])
def test_a_device_that_misbehaves_ends_in_a_clear_message(key, emulator, monkeypatch, kind, fields):
    monkeypatch.setattr(runs, "MAX_FAILURES", 1)
    misbehave(emulator, kind, **fields)
    inventory = take()
    assert inventory.state == InventoryState.FAILED
    assert "HSM" in inventory.problem


def test_a_locked_device_says_so(key, device, monkeypatch):
    monkeypatch.setattr(runs, "MAX_FAILURES", 1)
    device.state = "Locked"
    assert "locked" in take().problem


def test_a_condemned_orphan_is_deleted_in_the_device(key, device):
    namespace, _ = place(key)
    orphan_id = f"k{uuid.uuid4().hex}"
    device.store.keys[namespace, orphan_id] = make_key(["BIP340_Signature"])
    take()
    orphans.condemn(actor=ACTOR, orphan=HsmOrphan.objects.get(), reason="left behind")
    assert orphans.destroy_condemned() == 1
    assert (namespace, orphan_id) not in device.store.keys
    assert place(key) in device.store.keys
    assert HsmOrphan.objects.get().state == OrphanState.DESTROYED


def test_a_list_that_is_none_is_refused(key, device, monkeypatch):
    monkeypatch.setattr(runs, "MAX_FAILURES", 1)
    monkeypatch.setattr("keys.hsm.nethsm.calls.NetHsmResponse.json", lambda self: [{"id": 7}])
    assert take().state == InventoryState.FAILED
    with scopes_disabled():
        assert PersonalKey.objects.count() == 1
