"""A key replaced by a new one of the same person."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keys import services as key_services
from keys.errors import KeyUnavailable
from keys.models import KeyState, PersonalKey, Rotation, RotationState
from keys.rotation import runner, services
from keys.rotation.errors import NothingToRotate, WrongScope
from keys.rotation.scope import RotationScope
from tests.keys.conftest import make_user
from tests.keys.rotation.conftest import OPERATOR


def rotate(key, actor=OPERATOR):
    return runner.run_for(services.start(actor=actor, kind="identity", scope=RotationScope.of_key(key)).id)


def again(key):
    with scopes_disabled():
        return PersonalKey.objects.select_related("replaced_by").get(pk=key.pk)


def test_a_stranger_cannot_replace_it(key, tenant):
    with pytest.raises((NotFound, NotPermitted)):
        rotate(key, Actor.user(make_user(tenant)))


def test_an_identity_rotation_of_all_keys_is_refused(key):
    with pytest.raises(WrongScope):
        services.start(actor=OPERATOR, kind="identity", scope="all")


def test_a_key_about_to_be_destroyed_is_not_replaced(key, user):
    key_services.schedule_destruction(actor=Actor.user(user), key=key)
    with pytest.raises(KeyUnavailable):
        rotate(key)


def test_its_owner_gets_a_new_key_of_the_same_kind_and_the_old_one_stays(key, user):
    rotation = rotate(key, Actor.user(user))
    assert rotation.state == RotationState.DONE, rotation.report
    old = again(key)
    new = old.replaced_by
    assert (old.state, new.state) == (KeyState.ACTIVE, KeyState.ACTIVE)
    assert old.replaced_at is not None
    assert (new.user_id, new.tenant_id, new.key_mode, new.name) == (user.id, old.tenant_id, old.key_mode, old.name)
    assert new.public_key != old.public_key
    assert rotation.report["public_key"] == new.public_key
    assert AuditRow.objects.filter(tag="keys:key:identity-rotated", key_id=key.id.hex).count() == 1
    with pytest.raises(NothingToRotate):
        rotate(key)


def test_a_dry_run_makes_no_key(key):
    services.start(actor=OPERATOR, kind="identity", scope=RotationScope.of_key(key), dry_run=True)
    assert again(key).replaced_by is None


def test_the_old_one_is_replaced_when_the_new_one_is_ready_and_not_before(key, monkeypatch):
    real = key_services.create_key

    def slow(**options):
        made = real(**options)
        with scopes_disabled():
            PersonalKey.objects.filter(pk=made.pk).update(
                state=KeyState.PENDING, encrypted_secret_key=None, kek_version=""
            )
        return again(made)

    monkeypatch.setattr(key_services, "create_key", slow)
    rotation = rotate(key)
    assert rotation.state == RotationState.RUNNING
    assert again(key).replaced_at is None
    heir = again(key).replaced_by
    runner.run_for(rotation.id)
    with scopes_disabled():
        assert PersonalKey.objects.count() == 2, "no second successor"
        PersonalKey.objects.filter(pk=heir.pk).update(
            state=KeyState.ACTIVE, encrypted_secret_key=b"sealed", kek_version="1"
        )
    Rotation.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert runner.run_for(rotation.id).state == RotationState.DONE
    assert again(key).replaced_at is not None


def test_a_successor_that_fails_leaves_the_old_one_as_it_was(key, monkeypatch):
    real = key_services.create_key

    def failing(**options):
        made = real(**options)
        with scopes_disabled():
            PersonalKey.objects.filter(pk=made.pk).update(
                state=KeyState.FAILED, encrypted_secret_key=None, kek_version=""
            )
        return again(made)

    monkeypatch.setattr(key_services, "create_key", failing)
    started = services.start(actor=OPERATOR, kind="identity", scope=RotationScope.of_key(key))
    rotation = runner.run_for(started.id)
    assert rotation.state == RotationState.FAILED
    assert rotation.report["failures"][0]["code"] == "successor-failed"
    assert again(key).replaced_at is None
    monkeypatch.undo()
    assert rotate(key).state == RotationState.DONE
