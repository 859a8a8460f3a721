"""HSM keys that no row names: never destroyed unless they were condemned, and spared when a row names them again."""

from __future__ import annotations

import pytest

from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.emulators.kms.store import Purpose, State
from keys.errors import InvalidTransition
from keys.hsm.inventory import orphans
from keys.hsm.inventory.compare import Discrepancy
from keys.models import HsmOrphan, OrphanState
from tests.keys.hsm.google.conftest import RING, misbehave
from tests.keys.hsm.google.inventory import ACTOR, kinds, name_of, owner, ring, row_of, take, tenant

__all__ = ["owner", "ring", "tenant"]


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
