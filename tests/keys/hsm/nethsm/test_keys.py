"""Keys are made in the device, each tenant's in a namespace of its own, and end there."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip01 import UnsignedEvent, verify_event
from keys import jobs, selectors, services
from keys.errors import KeyModeUnavailable, NoCapability
from keys.hsm import provisioning
from keys.hsm.calling import within
from keys.hsm.nethsm import access, backend, clients, names
from keys.hsm.nethsm.calling import HsmLocked
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm.nethsm.keeper import NetHsmKeyManager
from keys.hsm.nethsm.signer import NetHsmSigner
from keys.hsm_errors import HsmAnswerRefused, HsmForbidden, HsmMisconfigured, HsmUnavailable
from keys.lifecycle import modes
from keys.models import KeyState, PersonalKey
from keys.signing.service import SigningService
from tests.keys.conftest import make_tenant, make_user
from tests.keys.hsm.nethsm.conftest import ADMIN, TENANT, misbehave

pytestmark = pytest.mark.django_db(transaction=True)


def make(owner, tenant):
    return services.create_key(actor=Actor.user(owner), tenant=tenant, user=owner, name="Main", key_mode="hsm")


def now(key):
    with scopes_disabled():
        return PersonalKey.objects.get(pk=key.pk)


def tags(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def new_name():
    return names.key_name(TENANT, uuid.uuid4())


def test_an_existing_key_cannot_be_imported(world, owner):
    with pytest.raises(NoCapability):
        services.import_key(
            actor=Actor.user(owner),
            tenant=world,
            user=owner,
            name="Main",
            key_mode="hsm",
            secret=SecretBytes.random(32),
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NETHSM_URL", ""),
        ("NETHSM_URL", "http://127.0.0.1"),
        ("NETHSM_CA_FILE", ""),
        ("NETHSM_OPERATOR_PASSWORD", ""),
        ("NETHSM_OPERATOR_PASSWORD", "short"),
        ("NETHSM_ADMIN_PASSWORD", ""),
        ("NETHSM_OPERATOR_USER", "no~tilde"),
    ],
)
def test_what_is_not_set_up_is_not_offered(world, owner, settings, name, value):
    setattr(settings, name, value)
    offer = next(each for each in modes.offers(world) if each.provider == "nethsm")
    assert not offer.is_available
    with pytest.raises(KeyModeUnavailable):
        make(owner, world)


def test_one_password_for_administrator_and_operator_is_refused(settings, emulator):
    settings.NETHSM_OPERATOR_PASSWORD = settings.NETHSM_ADMIN_PASSWORD
    assert "different passwords" in NetHsmConfig.from_settings().problem()


@pytest.mark.parametrize("kind", ["wrong-signature", "wrong-key", "garbage"])
def test_a_key_whose_signatures_do_not_verify_is_not_used(world, owner, emulator, kind):
    misbehave(emulator, kind, "sign", "public_key")
    key = make(owner, world)
    assert key.state == KeyState.PENDING
    assert "integrity" in key.state_reason
    assert now(key).public_key is None


def test_a_key_of_another_kind_under_the_name_fails(keeper, emulator):
    name = new_name()
    keeper.create(name)
    next(iter(emulator.app.store.keys.values())).mechanisms.append("ECDSA_Signature")
    assert keeper.check(name).reason


@pytest.mark.parametrize("state", ["Locked", "Unprovisioned", "Operational"])
def test_the_devices_state_can_be_asked_for(keeper, emulator, state):
    emulator.app.state = state
    assert keeper.state() == state


def test_production_refuses_an_emulator(keeper, settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(HsmMisconfigured, match="emulator"):
        keeper.create(new_name())


def test_wrong_administrators_credentials_are_said_to_be_that(emulator, settings):
    settings.NETHSM_ADMIN_PASSWORD = "not the passphrase"
    with pytest.raises(HsmForbidden):
        NetHsmKeyManager().create(new_name())


def test_a_locked_device_says_so(keeper, emulator):
    emulator.app.state = "Locked"
    with pytest.raises(HsmLocked, match="unlock"):
        keeper.create(new_name())


def test_making_a_key_at_a_device_that_hangs_takes_no_longer_than_five_seconds(world, owner, emulator, monkeypatch):
    misbehave(emulator, "latency", seconds=1.0)
    bounds = []
    monkeypatch.setattr(backend, "within", lambda seconds: bounds.append(seconds) or within(seconds))
    key = make(owner, world)
    assert key.state == KeyState.PENDING
    assert bounds
    assert max(bounds) < 5


def test_a_device_that_is_away_leaves_the_key_pending_and_the_job_finishes_it(world, owner, emulator):
    misbehave(emulator, "status", status=503)
    key = make(owner, world)
    assert (key.state, key.public_key) == (KeyState.PENDING, None)
    assert "unavailable" in key.state_reason
    emulator.app.faults.set()
    assert jobs.finish_pending_keys() == 1
    assert now(key).state == KeyState.ACTIVE
    assert jobs.finish_pending_keys() == 0


def test_a_lost_answer_to_generate_makes_no_second_key(keeper, emulator):
    name = new_name()
    keeper.create(name)
    keeper.create(name)
    assert len(emulator.app.store.keys) == 1


def test_a_transaction_that_fails_leaves_nothing_in_the_device(world, owner, emulator, monkeypatch):
    def fail(*_):
        raise RuntimeError("the database went away")

    monkeypatch.setattr("keys.lifecycle.audit.write_added", fail)
    with pytest.raises(RuntimeError):
        make(owner, world)
    assert emulator.app.store.keys == {}


def test_a_key_is_active_at_once_and_signs(world, owner, emulator):
    key = make(owner, world)
    assert key.state == KeyState.ACTIVE
    assert key.kms_key_name == f"t{world.id.hex}~k{key.id.hex}"
    assert now(key).public_key == key.public_key
    assert tags(key) == ["keys:key:requested", "keys:key:created"]
    ref = selectors.key_ref(now(key))
    event = UnsignedEvent(pubkey=ref.public_key, created_at=1_700_000_000, kind=1, tags=[], content="hello")

    async def sign():
        try:
            return await SigningService({("hsm", "nethsm"): NetHsmSigner()}, None).sign_event(ref, event)
        finally:
            await clients.close()

    assert verify_event(async_to_sync(sign)())


def test_each_tenant_has_a_namespace_and_users_of_its_own(world, owner, emulator):
    other = make_tenant(key_modes=["hsm"])
    make(owner, world)
    make(make_user(other), other)
    device = emulator.app.store
    assert device.namespaces == {names.namespace_of(world.id), names.namespace_of(other.id)}
    assert {place for place, _ in device.keys} == device.namespaces
    assert len({user.passphrase for user in device.users.values()}) == 5


def test_the_r_administrator_makes_the_namespace_once_and_nothing_else(world, owner, emulator):
    make(owner, world)
    make(owner, world)
    by_root = [operation for operation, user in emulator.app.calls if user == ADMIN]
    assert by_root == ["namespaces", "put_user", "put_namespace"]


def test_a_process_without_the_r_administrator_serves_tenants_that_are_set_up(keeper, emulator, settings):
    keeper.create(new_name())
    settings.NETHSM_ADMIN_USER, settings.NETHSM_NAMESPACE_PASSWORD = "", settings.NETHSM_ADMIN_PASSWORD
    settings.NETHSM_ADMIN_PASSWORD = ""
    NetHsmKeyManager().create(new_name())
    assert len(emulator.app.store.keys) == 2


def test_a_setup_that_was_killed_half_way_is_taken_up_again(keeper, emulator):
    misbehave(emulator, "status", "put_namespace", status=412)
    with pytest.raises(HsmLocked):
        keeper.create(new_name())
    emulator.app.faults.set()
    keeper.create(new_name())
    assert len(emulator.app.store.keys) == 1


def test_destruction_deletes_the_key_in_the_device(world, owner, emulator):
    key = make(owner, world)
    services.schedule_destruction(actor=Actor.user(owner), key=key)
    assert services.destroy_due_keys(now=timezone.now() + timedelta(days=31)) == 1
    misbehave(emulator, "status", "delete_key", status=503)
    assert jobs.finish_pending_keys() == 0
    assert len(emulator.app.store.keys) == 1
    emulator.app.faults.set()
    assert jobs.finish_pending_keys() == 1
    assert emulator.app.store.keys == {}
    assert now(key).kms_key_name == ""
    assert tags(key)[-1] == "keys:hsm-key:destroyed"


def test_deleting_twice_is_no_error(keeper):
    name = new_name()
    keeper.create(name)
    assert keeper.versions(name) == [name]
    keeper.destroy(name)
    keeper.destroy(name)
    assert keeper.versions(name) == []


def test_a_key_that_is_never_finished_fails_with_a_reason(world, owner, emulator):
    misbehave(emulator, "status", "generate", status=400)
    key = make(owner, world)
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(created_at=timezone.now() - timedelta(hours=2))
    provisioning.finish(key.id)
    assert now(key).state == KeyState.FAILED
    assert "3.0" in now(key).state_reason


def test_a_device_that_gives_a_known_public_key_makes_no_key(world, owner, emulator):
    first = make(owner, world)
    store = emulator.app.store
    known = store.keys[names.split(first.kms_key_name)]
    make_again = pytest.MonkeyPatch()
    with make_again.context() as patch:
        patch.setattr("keycast.emulators.nethsm.service.make_key", lambda mechanisms: known)
        second = make(owner, world)
    assert (second.state, second.public_key) == (KeyState.FAILED, None)
    assert now(first).state == KeyState.ACTIVE


def test_passphrases_are_bound_to_role_and_namespace_and_never_shown(emulator):
    config = NetHsmConfig.from_settings()
    users = [
        access.administrator(config, "a"),
        access.administrator(config, "b"),
        access.operator(config, "a"),
        access.operator(config, "b"),
    ]
    assert len({user.passphrase for user in users}) == 4
    for user in users:
        assert user.passphrase not in repr(user)
    assert config.admin_password not in repr(config)


def test_a_dead_devices_answer_names_no_secrets(settings, emulator):
    settings.NETHSM_URL = "https://127.0.0.1:1"
    with pytest.raises(HsmUnavailable) as caught:
        NetHsmKeyManager().create(new_name())
    assert settings.NETHSM_ADMIN_PASSWORD not in repr(caught.value.__dict__)
    assert not isinstance(caught.value, HsmAnswerRefused)
