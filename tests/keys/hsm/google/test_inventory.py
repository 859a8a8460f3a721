"""The key ring compared with the database: what is told, what is left alone, and a ring that misbehaves."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.emulators.kms.service import KmsEmulatorService
from keycast.emulators.kms.store import Algorithm, Purpose, State
from keys.errors import InvalidTransition
from keys.hsm import registration
from keys.hsm.google.listing import GoogleKeyReader
from keys.hsm.inventory import orphans, runs
from keys.hsm.inventory.compare import Discrepancy
from keys.hsm.inventory.listing import hsm_key_readers
from keys.models import HsmInventory, HsmOrphan, InventoryState, KeyState, OrphanState, PersonalKey, Succession
from tests.keys.conftest import make_tenant, make_user
from tests.keys.hsm.google.conftest import RING, misbehave

ACTOR = Actor.command("test")


@pytest.fixture(autouse=True)
def ring(db, settings, emulator):
    """An empty ring, and an inventory that knows of it."""
    emulator.store.keys.clear()
    settings.HSM_PROVIDERS = ["google"]
    hsm_key_readers.cache_clear()
    registration.hsm_key_managers.cache_clear()
    yield emulator
    hsm_key_readers.cache_clear()
    registration.hsm_key_managers.cache_clear()


@pytest.fixture
def tenant(ring):
    return make_tenant(key_modes=["encrypted", "hsm"])


@pytest.fixture
def owner(tenant):
    return make_user(tenant)


def name_of(key_id=None):
    return f"{RING}/cryptoKeys/user-{key_id or uuid.uuid4()}"


def row_of(owner, tenant, keeper, **fields):
    """A key as it is once it was made: a row, and what the ring has of it."""
    name = fields.pop("name", None) or name_of()
    keeper.create(name.rpartition("/")[2])
    status = keeper.check(name)
    wanted = {
        "tenant": tenant,
        "user": owner,
        "name": "Main",
        "key_mode": "hsm",
        "hsm_provider": "google",
        "state": "active",
        "public_key": os.urandom(32).hex(),
        "encrypted_half_key": b"half",
        "kek_version": "1",
        "kms_key_name": name,
        "kms_key_version": status.version,
        "authoriser_public_key": status.public_key.hex(),
        "cosigner_public_key": os.urandom(32).hex(),
    }
    with scopes_disabled():
        return PersonalKey.objects.create(**{**wanted, **fields})


def change(key, **fields):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(**fields)


def take(steps=10):
    inventory = runs.start(actor=ACTOR, provider="google")
    for _ in range(steps):
        inventory = runs.advance(inventory.pk)
        if inventory.state != InventoryState.RUNNING:
            break
    return HsmInventory.objects.get(pk=inventory.pk)


def kinds(inventory):
    return [finding["kind"] for finding in inventory.report.get("findings", [])]


def version(ring, key):
    return ring.store.version(key.kms_key_version)


# --- what is told ---


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


# --- how it goes on ---


def test_a_row_that_changes_while_it_is_looked_at_is_left_for_the_next_time(owner, tenant, keeper, ring, monkeypatch):
    key = row_of(owner, tenant, keeper)
    version(ring, key).state = int(State.DISABLED)
    look = GoogleKeyReader.look

    def look_and_change(self, name):
        change(key, state=KeyState.DISABLED, state_changed_at=timezone.now())
        return look(self, name)

    monkeypatch.setattr(GoogleKeyReader, "look", look_and_change)
    assert kinds(take()) == []


def test_a_key_made_after_the_ring_was_read_is_no_orphan(owner, tenant, keeper, monkeypatch):
    name = name_of()
    keeper.create(name.rpartition("/")[2])
    keeper.check(name)
    look = GoogleKeyReader.look

    def look_and_name(self, wanted):
        row_of(owner, tenant, keeper, name=name)
        return look(self, wanted)

    monkeypatch.setattr(GoogleKeyReader, "look", look_and_name)
    inventory = runs.start(actor=ACTOR, provider="google")
    stock = hsm_key_readers()["google"]
    runs._look_at_unnamed(inventory, stock, name)
    assert kinds(inventory) == []


def test_many_keys_are_read_in_pages_and_steps_of_a_bounded_number_of_calls(
    owner, tenant, keeper, ring, settings, monkeypatch
):
    monkeypatch.setattr("keys.hsm.google.listing.PAGE_SIZE", 7)
    monkeypatch.setattr(runs, "A_BATCH", 4)
    settings.HSM_INVENTORY_READS = 9
    for _ in range(20):
        row_of(owner, tenant, keeper)
    for _ in range(5):
        keeper.create(name_of().rpartition("/")[2])
    ring.calls.clear()
    inventory, most = runs.start(actor=ACTOR, provider="google"), 0
    while inventory.state == InventoryState.RUNNING:
        before = sum(ring.calls.values())
        inventory = runs.advance(inventory.pk)
        most = max(most, sum(ring.calls.values()) - before)
    assert kinds(inventory) == [Discrepancy.ORPHAN] * 5
    assert (inventory.done, inventory.total) == (20, 20)
    assert ring.calls["ListCryptoKeys"] == 4
    assert most <= 9 + 2 * 4
    assert "left" not in inventory.report


class Killed(BaseException):
    """The process ends here."""


def test_a_step_that_is_killed_is_done_again_and_nothing_is_told_twice(owner, tenant, keeper, ring, monkeypatch):
    monkeypatch.setattr(runs, "A_BATCH", 2)
    for _ in range(5):
        version(ring, row_of(owner, tenant, keeper)).state = int(State.DISABLED)
        keeper.create(name_of().rpartition("/")[2])
    look, lives = GoogleKeyReader.look, iter([3, 1, 4, 1, 2, 1])

    def mortal(self, name):
        mortal.left -= 1
        if mortal.left == 0:
            raise Killed
        return look(self, name)

    monkeypatch.setattr(GoogleKeyReader, "look", mortal)
    inventory = runs.start(actor=ACTOR, provider="google")
    while inventory.state == InventoryState.RUNNING:
        mortal.left = next(lives, -1)
        try:
            runs.advance(inventory.pk)
        except Killed:
            HsmInventory.objects.update(lease_until=timezone.now())
        inventory.refresh_from_db()
    assert sorted(kinds(inventory)) == [Discrepancy.DISABLED] * 5 + [Discrepancy.ORPHAN] * 5


def test_two_processes_do_not_take_the_same_step(owner, tenant, keeper, ring):
    row_of(owner, tenant, keeper)
    inventory = runs.start(actor=ACTOR, provider="google")
    HsmInventory.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    ring.calls.clear()
    assert runs.advance(inventory.pk).state == InventoryState.RUNNING
    assert ring.calls == {}
    assert runs.start(actor=ACTOR, provider="google").pk == inventory.pk


def test_old_inventories_are_forgotten_and_each_is_in_the_log(monkeypatch):
    monkeypatch.setattr(runs, "RUNS_KEPT", 2)
    for _ in range(4):
        take()
    assert HsmInventory.objects.count() == 2
    assert AuditRow.objects.filter(tag=AuditTag.HSM_INVENTORY_TAKEN, outcome="ok").count() == 4


# --- a ring that misbehaves ---


@pytest.mark.parametrize(
    ("kind", "methods", "fields"),
    [
        ("error", (), {"code": "UNAVAILABLE"}),
        ("error", (), {"code": "PERMISSION_DENIED"}),
        ("error", ("ListCryptoKeyVersions",), {"code": "INTERNAL"}),
        ("hang", ("ListCryptoKeys",), {"seconds": 30}),
        ("wrong-checksum", ("GetPublicKey",), {}),
        ("wrong-name", ("GetPublicKey",), {}),
    ],
)
def test_a_ring_that_is_down_ends_in_a_clear_message_and_the_old_result_stays(
    owner, tenant, keeper, ring, monkeypatch, kind, methods, fields
):
    row_of(owner, tenant, keeper)
    old = take()
    monkeypatch.setattr(runs, "MAX_FAILURES", 2)
    misbehave(ring, kind, *methods, **fields)
    new = take()
    assert new.state == InventoryState.FAILED
    assert "HSM" in new.problem
    assert kinds(new) == []
    assert [each.pk for each in runs.latest("google")] == [old.pk, new.pk]
    row = AuditRow.objects.get(tag=AuditTag.HSM_INVENTORY_TAKEN, outcome="failed")
    assert new.problem in row.data


def test_an_inventory_goes_on_where_a_ring_that_was_away_left_it(owner, tenant, keeper, ring):
    row_of(owner, tenant, keeper)
    misbehave(ring, "error", "ListCryptoKeyVersions", code="UNAVAILABLE")
    inventory = take(steps=2)
    assert (inventory.state, inventory.failures) == (InventoryState.RUNNING, 2)
    assert inventory.problem
    ring.faults.set([])
    hsm_key_readers.cache_clear()  # a breaker that has rested
    inventory = take()
    assert (inventory.state, inventory.failures, inventory.problem, kinds(inventory)) == ("done", 0, "", [])


def test_a_ring_that_gives_the_same_page_for_ever_is_not_believed(keeper, ring, monkeypatch):
    monkeypatch.setattr("keycast.emulators.kms.service._page", lambda names, size, token: (names, "again"))
    monkeypatch.setattr(runs, "MAX_FAILURES", 1)
    assert take().state == InventoryState.FAILED


def test_one_key_that_may_not_be_looked_at_does_not_end_the_inventory(owner, tenant, keeper):
    for _ in range(2):
        row_of(owner, tenant, keeper)
    change(row_of(owner, tenant, keeper), kms_key_name="projects/old/key", kms_key_version="projects/old/key/1")
    inventory = take()
    assert (inventory.state, kinds(inventory)) == ("done", [Discrepancy.ORPHAN, Discrepancy.UNSEEN])


def test_versions_of_another_key_are_not_believed(owner, tenant, keeper, ring, monkeypatch):
    row_of(owner, tenant, keeper)
    other = row_of(owner, tenant, keeper)
    list_versions = KmsEmulatorService.ListCryptoKeyVersions

    def lie(self, request):
        request.parent = other.kms_key_name
        return list_versions(self, request)

    monkeypatch.setattr(KmsEmulatorService, "ListCryptoKeyVersions", lie)
    monkeypatch.setattr(runs, "MAX_FAILURES", 1)
    inventory = take()
    assert inventory.state == InventoryState.FAILED
    assert "integrity" in inventory.problem


# --- orphans ---


@pytest.fixture
def orphan(keeper):
    name = name_of()
    keeper.create(name.rpartition("/")[2])
    keeper.check(name)
    take()
    return HsmOrphan.objects.get()


def test_nothing_is_destroyed_that_was_not_condemned(orphan, ring):
    assert orphans.destroy_condemned() == 0
    orphans.ignore(actor=ACTOR, orphan=orphan, reason="the staging server's")
    assert orphans.destroy_condemned() == 0
    assert ring.store.keys[orphan.name].versions[orphan.versions[0]].state == State.ENABLED


def test_a_condemned_orphan_that_a_row_names_by_now_is_spared(orphan, owner, tenant, keeper, ring):
    orphans.condemn(actor=ACTOR, orphan=orphan, reason="left behind")
    row_of(owner, tenant, keeper, name=orphan.name)
    assert orphans.destroy_condemned() == 0
    orphan.refresh_from_db()
    assert orphan.state == OrphanState.OPEN
    assert "A row names this key now" in orphan.problem
    assert ring.store.keys[orphan.name].versions[orphan.versions[0]].state == State.ENABLED
    with pytest.raises(InvalidTransition):
        orphans.condemn(actor=ACTOR, orphan=orphan, reason="again")


def test_an_ignored_orphan_is_not_told_again_until_it_is_reopened(orphan):
    orphans.ignore(actor=ACTOR, orphan=orphan, reason="the staging server's")
    assert kinds(take()) == []
    with pytest.raises(InvalidTransition):
        orphans.ignore(actor=ACTOR, orphan=orphan, reason="twice")
    orphans.reopen(actor=ACTOR, orphan=orphan, reason="it is nobody's")
    assert kinds(take()) == [Discrepancy.ORPHAN]


def test_a_condemned_orphan_is_scheduled_for_destruction_in_the_hsm(orphan, ring):
    orphans.condemn(actor=ACTOR, orphan=orphan, reason="left behind", asked_by="a@platform.test")
    assert orphans.destroy_condemned() == 1
    assert ring.store.keys[orphan.name].versions[orphan.versions[0]].state == State.DESTROY_SCHEDULED
    orphan.refresh_from_db()
    assert orphan.state == OrphanState.DESTROYED
    assert orphans.destroy_condemned() == 0
    assert kinds(take()) == []
    told = AuditRow.objects.filter(data__contains=orphan.name).values_list("tag", flat=True)
    assert set(told) == {AuditTag.HSM_ORPHAN_CONDEMNED, AuditTag.HSM_ORPHAN_DESTROYED}


def test_an_hsm_that_is_away_leaves_an_orphan_condemned(orphan, ring):
    orphans.condemn(actor=ACTOR, orphan=orphan, reason="left behind")
    misbehave(ring, "error", code="PERMISSION_DENIED")
    assert orphans.destroy_condemned() == 0
    orphan.refresh_from_db()
    assert orphan.state == OrphanState.DOOMED
    assert "permissions" in orphan.problem


def test_an_orphan_that_is_gone_is_gone_and_comes_back_open(orphan, ring, keeper):
    held = ring.store.keys.pop(orphan.name)
    take()
    orphan.refresh_from_db()
    assert orphan.state == OrphanState.GONE
    ring.store.keys[orphan.name] = held
    assert kinds(take()) == [Discrepancy.ORPHAN]


def test_keys_that_encrypt_are_not_ours(ring):
    from google.cloud import kms_v1

    name = f"{RING}/cryptoKeys/kek"
    ring.store.add_key(name, kms_v1.CryptoKey(purpose=Purpose.ENCRYPT_DECRYPT))
    inventory = take()
    assert inventory.report["foreign"] == [name]
