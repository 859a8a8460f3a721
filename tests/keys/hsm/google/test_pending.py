"""Keys that wait for their HSM part: killed anywhere, the next run brings them to an end that can be seen."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.emulators.kms.store import State
from keys import jobs, maintenance, selectors, services
from keys.errors import CheckFailed, InvalidTransition, KeyExists, KeyModeUnavailable
from keys.hsm import provisioning, registration
from keys.hsm.google.backend import GoogleBackend
from keys.hsm.google.keeper import GoogleKeyManager
from keys.hsm.inventory.listing import hsm_key_readers
from keys.hsm_errors import HsmForbidden, HsmUnavailable
from keys.lifecycle import modes
from keys.models import KeyState, PersonalKey
from tests.keys.conftest import make_tenant, make_user
from tests.keys.hsm.google.conftest import RING, misbehave


class Killed(BaseException):
    """The process ends here: nothing after this line runs, nothing that was not committed stays."""


class FakeHalves:
    """Fills a row as keys.split.halves does, with halves of nothing."""

    def create(self, row):
        keypair, _ = Keypair.generate()
        self._fill(row, keypair.public_key_hex, "")

    def adopt(self, row, secret):
        with Keypair.from_secret(secret) as keypair:
            self._fill(row, keypair.public_key_hex, os.urandom(32).hex())

    def _fill(self, row, public_key, tweak):
        row.public_key, row.key_tweak, row.cosigner_public_key = public_key, tweak, os.urandom(32).hex()
        row.encrypted_half_key, row.kek_version = os.urandom(100), "test-1"


class FakeCosigner:
    """Knows authorisers by key; can be killed or be away."""

    def __init__(self):
        self.known, self.forgotten, self.failure = {}, [], None

    def register(self, row, public_key):
        if self.failure:
            raise self.failure
        assert self.known.setdefault(row.id, public_key) == public_key

    def forget(self, row):
        if self.failure:
            raise self.failure
        self.forgotten.append(row.id)


@pytest.fixture
def cosigner():
    return FakeCosigner()


@pytest.fixture
def world(db, settings, emulator, monkeypatch, cosigner):
    settings.HSM_PROVIDERS = ["google"]
    keeper = GoogleKeyManager(RING)
    monkeypatch.setattr(registration, "hsm_key_managers", lambda: {"google": keeper})
    monkeypatch.setattr(
        registration, "cosigner_callbacks", lambda: provisioning.CosignerCallbacks(cosigner.register, cosigner.forget)
    )
    monkeypatch.setattr(modes, "_backends", [*modes._backends, GoogleBackend(FakeHalves())])
    monkeypatch.setattr(provisioning, "_PAUSES", (0.05, 0.1))
    return make_tenant(key_modes=["encrypted", "hsm"])


@pytest.fixture
def owner(world):
    return make_user(world)


def request_key(owner, tenant, secret=None):
    wanted = {"actor": Actor.user(owner), "tenant": tenant, "user": owner, "name": "Main", "key_mode": "hsm"}
    if secret is None:
        return services.create_key(**wanted)
    return services.import_key(**wanted, secret=secret)


def now(key):
    with scopes_disabled():
        return PersonalKey.objects.get(pk=key.pk)


def age(key, hours=2):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(created_at=timezone.now() - timedelta(hours=hours))


def tags(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def version_states(emulator):
    versions = [version for key in emulator.store.keys.values() for version in key.versions.values()]
    return [State(version.current_state()).name for version in versions]


@pytest.fixture(autouse=True)
def empty_ring(running_emulator):
    running_emulator.store.keys.clear()


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


# --- trying again ---


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


# --- checking one ---


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
