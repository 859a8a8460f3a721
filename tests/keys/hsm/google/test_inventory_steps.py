"""How an inventory goes on: in steps that can be killed and repeated, and past a ring that misbehaves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.emulators.kms.service import KmsEmulatorService
from keycast.emulators.kms.store import State
from keys.hsm.google.listing import GoogleKeyReader
from keys.hsm.inventory import runs
from keys.hsm.inventory.compare import Discrepancy
from keys.hsm.inventory.listing import hsm_key_readers
from keys.models import HsmInventory, InventoryState, KeyState
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.hsm.google.inventory import ACTOR, change, kinds, name_of, owner, ring, row_of, take, tenant, version

__all__ = ["owner", "ring", "tenant"]


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
