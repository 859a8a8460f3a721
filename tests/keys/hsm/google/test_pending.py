"""Keys that wait for their HSM part: killed anywhere, the next run brings them to an end that can be seen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.crypto.secret import SecretBytes
from keys import jobs, selectors, services
from keys.errors import KeyExists, KeyModeUnavailable
from keys.hsm import provisioning, registration
from keys.hsm_errors import HsmForbidden, HsmUnavailable
from keys.models import KeyState, PersonalKey
from tests.keys.hsm.google.conftest import RING, misbehave
from tests.keys.hsm.google.pending import (
    Killed,
    age,
    cosigner,
    empty_ring,
    now,
    owner,
    request_key,
    tags,
    version_states,
    world,
)

__all__ = ["cosigner", "empty_ring", "owner", "world"]


def test_no_key_is_asked_for_without_a_key_ring(world, owner, settings):
    settings.GCP_KEY_RING = ""
    with pytest.raises(KeyModeUnavailable, match="key ring"):
        request_key(owner, world)


def test_a_new_key_is_pending_named_and_enqueued_and_no_call_was_made(
    world, owner, emulator, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        key = request_key(owner, world)
    row = now(key)
    assert row.state == KeyState.PENDING
    assert row.kms_key_name.startswith(f"{RING}/cryptoKeys/user-")
    assert emulator.calls == {}
    assert [task.task["args"] for task in OrmQ.objects.all()] == [(str(key.id),)]
    assert tags(key) == ["keys:key:requested"]


def test_the_job_makes_it_active(world, owner, emulator, cosigner):
    key = request_key(owner, world)
    assert jobs.finish_pending_key(str(key.id))
    row = now(key)
    assert row.state == KeyState.ACTIVE
    assert row.kms_key_version == f"{row.kms_key_name}/cryptoKeyVersions/1"
    assert cosigner.known == {key.id: bytes.fromhex(row.authoriser_public_key)}
    assert tags(key) == ["keys:key:requested", "keys:key:created"]
    assert selectors.key_ref(row).hsm.authoriser == row.authoriser_public_key
    assert jobs.finish_pending_keys() == 0


def test_a_key_in_generation_is_looked_at_again(world, owner, emulator):
    emulator.store.pending_seconds = 3600
    key = request_key(owner, world)
    assert not jobs.finish_pending_key(str(key.id))
    assert now(key).state == KeyState.PENDING
    for version in next(iter(emulator.store.keys.values())).versions.values():
        version.generated_at = 0
    assert jobs.finish_pending_keys() == 1
    assert now(key).state == KeyState.ACTIVE
    assert len(emulator.store.keys) == 1


STEPS = ["create", "create after", "check", "check after", "register", "register after", "commit"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_run_finishes_with_one_hsm_key(world, owner, emulator, cosigner, monkeypatch, step):
    key = request_key(owner, world)
    name, _, after = step.partition(" ")
    owner_of = {
        "create": registration.hsm_key_managers()["google"],
        "check": registration.hsm_key_managers()["google"],
        "register": cosigner,
    }
    target, attribute = (provisioning.audit, "write") if step == "commit" else (owner_of[name], name)
    original = getattr(target, attribute)

    def deadly(*given, **named):
        if after:
            original(*given, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, attribute, deadly)
        with pytest.raises(Killed):
            provisioning.finish(key.id)
    assert now(key).state == KeyState.PENDING
    assert jobs.finish_pending_keys() == 1
    assert now(key).state == KeyState.ACTIVE
    assert version_states(emulator) == ["ENABLED"]
    assert tags(key) == ["keys:key:requested", "keys:key:created"]


@pytest.mark.parametrize("failure", [HsmUnavailable(), HsmForbidden()])
def test_what_a_pending_key_waits_for_can_be_seen(world, owner, cosigner, failure):
    key = request_key(owner, world)
    cosigner.failure = failure
    assert jobs.finish_pending_keys() == 0
    assert now(key).state_reason == failure.public_message
    cosigner.failure = None
    assert jobs.finish_pending_keys() == 1
    assert (now(key).state, now(key).state_reason) == (KeyState.ACTIVE, "")


def test_no_permission_to_create_is_shown_and_not_final(world, owner, emulator):
    key = request_key(owner, world)
    misbehave(emulator, "error", "CreateCryptoKey", code="PERMISSION_DENIED")
    assert jobs.finish_pending_keys() == 0
    assert "permissions" in now(key).state_reason
    emulator.faults.set([])
    assert jobs.finish_pending_keys() == 1


def test_a_key_that_takes_too_long_fails_with_a_reason_and_is_cleaned_up(world, owner, emulator, cosigner):
    emulator.store.pending_seconds = 3600
    key = request_key(owner, world)
    provisioning.finish(key.id)
    age(key)
    assert jobs.finish_pending_keys() >= 1
    row = now(key)
    assert row.state == KeyState.FAILED
    assert "did not finish the key in time" in row.state_reason
    assert row.encrypted_half_key is None
    assert row.kms_key_name  # still being generated, so still named
    for version in next(iter(emulator.store.keys.values())).versions.values():
        version.generated_at = 0
    assert jobs.finish_pending_keys() == 1
    assert version_states(emulator) == ["DESTROY_SCHEDULED"]
    assert now(key).kms_key_name == ""
    assert cosigner.forgotten[-1] == key.id
    assert tags(key) == ["keys:key:requested", "keys:key:creation-failed", "keys:hsm-key:destroyed"]
    assert jobs.finish_pending_keys() == 0


@pytest.mark.parametrize("step", ["versions", "destroy", "destroy after", "forget", "forget after", "commit"])
def test_killed_while_cleaning_up_the_next_run_ends_it(world, owner, emulator, cosigner, monkeypatch, step):
    key = request_key(owner, world)
    provisioning._advanced(now(key), registration.hsm_key_managers()["google"])
    with monkeypatch.context() as patch:
        patch.setattr(provisioning, "clean_up", lambda key_id: False)
        provisioning._fail(now(key), "Too late.")
    assert (now(key).state, version_states(emulator)) == (KeyState.FAILED, ["ENABLED"])
    name, _, after = step.partition(" ")
    target, attribute = {
        "commit": (provisioning.audit, "write"),
        "forget": (cosigner, "forget"),
    }.get(name, (registration.hsm_key_managers()["google"], name))
    original = getattr(target, attribute)

    def deadly(*given, **named):
        if after:
            original(*given, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, attribute, deadly)
        with pytest.raises(Killed):
            provisioning.clean_up(key.id)
    assert now(key).kms_key_name
    jobs.finish_pending_keys()
    assert version_states(emulator) == ["DESTROY_SCHEDULED"]
    assert now(key).kms_key_name == ""
    assert tags(key)[-1] == "keys:hsm-key:destroyed"


def test_a_version_that_was_disabled_behind_our_back_fails_the_key(world, owner, emulator):
    key = request_key(owner, world)
    keeper = registration.hsm_key_managers()["google"]
    keeper.disable(keeper.check(keeper.create(key.kms_key_name.rpartition("/")[2]).name).version)
    assert jobs.finish_pending_keys() >= 1
    assert (now(key).state, now(key).state_reason) == (
        KeyState.FAILED,
        "The key's version in the HSM is disabled.",
    )


def test_an_imported_key_that_failed_can_be_imported_again(world, owner, emulator):
    secret = SecretBytes.random(32)
    first = request_key(owner, world, secret)
    with pytest.raises(KeyExists):
        request_key(owner, world, secret)
    age(first)
    misbehave(emulator, "error", code="PERMISSION_DENIED")
    jobs.finish_pending_keys()
    assert now(first).state == KeyState.FAILED
    emulator.faults.set([])
    second = request_key(owner, world, secret)
    jobs.finish_pending_keys()
    assert now(second).state == KeyState.ACTIVE
    assert now(second).is_imported
    assert tags(second)[-1] == "keys:key:imported"


def test_a_destroyed_keys_hsm_key_goes_with_it(world, owner, emulator, cosigner):
    key = request_key(owner, world)
    jobs.finish_pending_keys()
    services.schedule_destruction(actor=Actor.user(owner), key=now(key))
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(destruction_due_at=timezone.now() - timedelta(minutes=1))
    assert jobs.finish_pending_keys() == 0
    assert version_states(emulator) == ["ENABLED"]
    assert jobs.destroy_due_keys() == 1
    assert jobs.finish_pending_keys() == 1
    assert version_states(emulator) == ["DESTROY_SCHEDULED"]
    assert cosigner.forgotten == [key.id]


def test_a_key_of_the_same_name_and_another_kind_is_not_used(world, owner, emulator):
    key = request_key(owner, world)
    from google.cloud import kms_v1

    emulator.store.add_key(
        key.kms_key_name, kms_v1.CryptoKey(purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT)
    )
    assert jobs.finish_pending_keys() == 1
    assert (now(key).state, now(key).state_reason) == (KeyState.FAILED, "The HSM made a key of another kind.")
