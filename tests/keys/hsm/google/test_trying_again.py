"""A key whose HSM part failed is tried again once that part has ended, and one that is there can be checked."""

from __future__ import annotations

import pytest
from django_q.models import OrmQ
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keycast.crypto.secret import SecretBytes
from keys import jobs, maintenance, selectors
from keys.errors import CheckFailed, InvalidTransition
from keys.hsm import registration
from keys.hsm.inventory.listing import hsm_key_readers
from keys.hsm_errors import HsmForbidden
from keys.models import KeyState, PersonalKey
from tests.keys.conftest import make_user
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.hsm.google.pending import (
    age,
    cosigner,
    empty_ring,
    now,
    owner,
    request_key,
    tags,
    world,
)

__all__ = ["cosigner", "empty_ring", "owner", "world"]


def failed(owner, tenant, emulator, secret=None):
    key = request_key(owner, tenant, secret)
    age(key)
    misbehave(emulator, "error", code="PERMISSION_DENIED")
    jobs.finish_pending_keys()
    emulator.faults.set([])
    return key


def test_a_failed_key_is_not_tried_again_before_its_hsm_part_is_ended(world, owner, emulator):
    key = failed(owner, world, emulator)
    assert now(key).kms_key_name
    with pytest.raises(InvalidTransition, match="still holds a part"):
        maintenance.recreate_failed(actor=Actor.command("test"), key=now(key))
    with scopes_disabled():
        assert PersonalKey.objects.count() == 1


def test_an_imported_key_cannot_be_tried_again_without_its_secret(world, owner, emulator):
    key = failed(owner, world, emulator, SecretBytes.random(32))
    jobs.finish_pending_keys()
    with pytest.raises(InvalidTransition, match="import the key again"):
        maintenance.recreate_failed(actor=Actor.command("test"), key=now(key))


def test_a_key_that_is_there_is_not_made_again(world, owner, emulator):
    key = request_key(owner, world)
    for state in (KeyState.PENDING, KeyState.ACTIVE):
        assert now(key).state == state
        with pytest.raises(InvalidTransition):
            maintenance.recreate_failed(actor=Actor.command("test"), key=now(key))
        jobs.finish_pending_keys()


def test_a_stranger_does_not_try_again_for_others(world, owner, emulator):
    key = failed(owner, world, emulator)
    jobs.finish_pending_keys()
    with pytest.raises((NotPermitted, NotFound)):
        maintenance.recreate_failed(actor=Actor.user(make_user(world)), key=now(key))


def test_trying_again_makes_a_new_key_and_leaves_a_tombstone(world, owner, emulator):
    key = failed(owner, world, emulator)
    jobs.finish_pending_keys()
    made = maintenance.recreate_failed(actor=Actor.command("test"), key=now(key), reason="permission is there now")
    jobs.finish_pending_keys()
    assert (now(made).state, now(made).name, now(made).user_id) == (KeyState.ACTIVE, "Main", owner.pk)
    assert now(made).kms_key_name != now(key).kms_key_name
    assert now(key).state == KeyState.DESTROYED
    assert tags(key)[-1] == "keys:key:creation-retried"
    assert str(made.id) in AuditRow.objects.get(tag="keys:key:creation-retried").data
    assert list(selectors.failed_keys_of(owner, world)) == []
    assert [row.pk for row in selectors.keys_of(owner, world)] == [made.pk]


def test_a_second_try_at_the_same_failure_is_refused(world, owner, emulator):
    key = failed(owner, world, emulator)
    jobs.finish_pending_keys()
    seen = now(key)
    maintenance.recreate_failed(actor=Actor.command("test"), key=seen)
    with pytest.raises(InvalidTransition):
        maintenance.recreate_failed(actor=Actor.command("test"), key=seen)


def test_a_pending_key_can_be_hurried(world, owner, django_capture_on_commit_callbacks):
    key = request_key(owner, world)
    with django_capture_on_commit_callbacks(execute=True):
        maintenance.check_pending_now(actor=Actor.command("test"), key=key)
    assert [task.task["args"] for task in OrmQ.objects.all()] == [(str(key.id),)]


@pytest.fixture
def known_ring(settings):
    hsm_key_readers.cache_clear()
    yield
    hsm_key_readers.cache_clear()


def test_a_check_finds_what_is_wrong_in_the_hsm_and_writes_it_down(world, owner, emulator, known_ring):
    key = request_key(owner, world)
    jobs.finish_pending_keys()
    maintenance.check(actor=Actor.command("test"), key=now(key))
    registration.hsm_key_managers()["google"].disable(now(key).kms_key_version)
    with pytest.raises(CheckFailed, match="Disabled in the HSM"):
        maintenance.check(actor=Actor.command("test"), key=now(key))
    misbehave(emulator, "error", code="PERMISSION_DENIED")
    with pytest.raises(HsmForbidden):
        maintenance.check(actor=Actor.command("test"), key=now(key))
    outcomes = AuditRow.objects.filter(tag="keys:key:checked").order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["ok", "failed", "unknown"]
    assert now(key).state == KeyState.ACTIVE


def test_a_key_that_is_not_there_cannot_be_checked(world, owner, emulator):
    with pytest.raises(InvalidTransition):
        maintenance.check(actor=Actor.command("test"), key=request_key(owner, world))
