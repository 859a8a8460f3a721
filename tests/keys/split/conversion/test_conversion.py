"""An encrypted key becomes a split one under the same public key: the refusals, then the way there and back out."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.services.tenants import lock_tenant
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound
from keys import services
from keys.errors import ConversionUnderWay, KeyLocked, KeyModeNotOffered, NoCapability, NotConverting
from keys.hsm import registration
from keys.hsm.registration import hsm_key_managers
from keys.models import Conversion, PersonalKey
from keys.models.hsm import ConversionStep
from keys.signing.cosigning.client import blocking
from keys.split import maintenance, refresh
from keys.split.conversion import steps
from tests.keys.conftest import make_user
from tests.keys.cosigner.rows import again
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.split.conversion.support import finished, signs

pytestmark = pytest.mark.opens_keys

SYSTEM = Actor.system("test")


def tags_of(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def test_only_who_may_manage_a_key_moves_it(deployment):
    key, other = deployment.key(), make_user(deployment.tenant)
    with pytest.raises(NotFound):
        services.convert_key(actor=Actor.user(other), key=key)
    assert not Conversion.objects.exists()


def test_a_key_that_is_locked_is_not_moved(deployment):
    key = services.lock_key(actor=SYSTEM, key=deployment.key())
    with pytest.raises(KeyLocked):
        deployment.converting(key)


def test_only_a_mode_that_the_tenant_offers_is_moved_to(deployment):
    key = deployment.key()
    deployment.tenant.key_modes = ["encrypted"]
    deployment.tenant.save()
    with pytest.raises(KeyModeNotOffered):
        deployment.converting(key)


def test_a_split_key_never_becomes_an_encrypted_one(deployment):
    key = deployment.key()
    deployment.converting(key)
    assert finished(key)
    with pytest.raises(NoCapability):
        deployment.converting(again(key))
    with pytest.raises(NotConverting):
        services.cancel_conversion(actor=SYSTEM, key=again(key))


def test_a_moved_key_keeps_its_public_key_and_leaves_no_whole_behind(deployment):
    key = deployment.key()
    before = bytes(key.encrypted_secret_key)
    assert signs(key, "before")
    deployment.converting(key)
    assert signs(key, "meanwhile")
    assert finished(key)
    row = again(key)
    assert (row.key_mode, row.kek_provider, row.hsm_provider, row.public_key) == ("hsm", "", "google", key.public_key)
    assert row.encrypted_secret_key is None
    assert signs(key, "after")
    assert not Conversion.objects.exists()
    assert deployment.state_at_b(key) == "active"
    assert tags_of(key)[-2:] == [AuditTag.KEY_CONVERSION_BEGUN, AuditTag.KEY_CONVERTED]
    assert_nowhere(before)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def assert_nowhere(blob):
    """Not in the database's file, nor beside it; PostgreSQL's pages are its own business (docs/security-model.md)."""
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        for path in (name, f"{name}-wal"):
            with open(path, "rb") as file:
                assert blob not in file.read()


def test_half_b_is_wiped_here_as_soon_as_the_co_signer_has_it(deployment, monkeypatch):
    key = deployment.key()
    half_b = bytes(deployment.converting(key).half_b)
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")  # the proof has to wait
    assert not finished(key)
    going = Conversion.objects.get()
    assert (going.step, going.half_b) == (ConversionStep.ADOPTED, None)
    assert "HSM" in going.problem
    assert_nowhere(half_b)
    assert signs(key)
    deployment.emulator.apply({"faults": []})
    assert finished(key)
    assert signs(key)


def test_settings_taken_away_meanwhile_leave_the_key_as_it_was(deployment, monkeypatch):
    key = deployment.key()
    deployment.converting(key)
    with monkeypatch.context() as without:
        without.setattr(registration, "hsm_key_managers", dict)
        assert not finished(key)
    assert "not set up correctly" in Conversion.objects.get().problem
    assert signs(key)
    assert finished(key)


def test_asking_twice_is_one_conversion(deployment):
    key = deployment.key()
    assert deployment.converting(key).kms_key_name == deployment.converting(key).kms_key_name


def test_the_key_signs_on_while_the_hsm_takes_its_time(deployment):
    key = deployment.key()
    deployment.emulator.apply({"pending_seconds": 2})
    going = deployment.converting(key)
    assert not finished(key)
    assert Conversion.objects.get().step == ConversionStep.SPLIT
    assert signs(key)
    services.cancel_conversion(actor=SYSTEM, key=key)
    assert until(lambda: finished(key)), "a version that is being generated cannot be destroyed yet"
    assert not Conversion.objects.exists()
    assert hsm_key_managers()["google"].versions(going.kms_key_name) == []
    assert signs(key)


def test_a_cancelled_move_leaves_nothing_behind_and_can_be_begun_again(deployment):
    key = deployment.key()
    going = deployment.converting(key)
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    assert not finished(key)
    services.cancel_conversion(actor=SYSTEM, key=key)
    with pytest.raises(ConversionUnderWay):
        deployment.converting(key)
    deployment.emulator.apply({"faults": []})
    assert finished(key)
    assert deployment.state_at_b(key) == "forgetting"
    assert hsm_key_managers()["google"].versions(going.kms_key_name) == []
    assert again(key).key_mode == "encrypted"
    assert tags_of(key)[-2:] == [AuditTag.KEY_CONVERSION_ENDED, AuditTag.HSM_KEY_DESTROYED]
    deployment.converting(key)
    assert finished(key)
    assert again(key).key_mode == "hsm"
    assert signs(key)


def test_a_move_that_cannot_end_gives_up_and_says_why(deployment):
    key = deployment.key()
    going = deployment.converting(key)
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    assert not finished(key)
    Conversion.objects.update(started_at=timezone.now() - steps.LIMIT - timedelta(seconds=1))
    assert not finished(key)
    assert finished(key)
    ended = Conversion.objects.get()
    assert ended.step == ConversionStep.FAILED
    assert "permissions" in ended.problem
    assert hsm_key_managers()["google"].versions(going.kms_key_name) == []
    assert signs(key)
    services.cancel_conversion(actor=SYSTEM, key=key)
    assert not Conversion.objects.exists()


def test_a_key_about_to_be_destroyed_is_not_moved_any_further(deployment):
    key = deployment.key()
    deployment.converting(key)
    services.schedule_destruction(actor=SYSTEM, key=key)
    assert not finished(key)
    assert Conversion.objects.get().step == ConversionStep.CANCELLED
    assert finished(key)


def test_a_key_that_is_destroyed_takes_its_halves_with_it(deployment):
    key = deployment.key()
    half_a = bytes(deployment.converting(key).half_a)
    services.schedule_destruction(actor=SYSTEM, key=key)
    assert services.destroy_due_keys(now=timezone.now() + timedelta(days=400)) == 1
    assert Conversion.objects.get().step == ConversionStep.CANCELLED
    assert_nowhere(half_a)
    assert finished(key)
    assert not Conversion.objects.exists()


def test_a_locked_key_is_moved_when_it_is_unlocked(deployment):
    key = deployment.key()
    deployment.converting(key)
    services.lock_key(actor=SYSTEM, key=key)
    assert not finished(key)
    services.unlock_key(actor=SYSTEM, key=again(key))
    assert finished(key)
    assert signs(key)


def test_nothing_is_proven_for_a_locked_tenant(deployment):
    key = deployment.key()
    deployment.converting(key)
    lock_tenant(actor=SYSTEM, tenant=deployment.tenant)
    assert not finished(key)
    assert Conversion.objects.get().step == ConversionStep.SPLIT


def test_a_late_cleaner_touches_nothing_of_a_later_attempt(deployment):
    key = deployment.key()
    first = deployment.converting(key)
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    finished(key)
    services.cancel_conversion(actor=SYSTEM, key=key)
    assert finished(key)
    deployment.emulator.apply({"faults": []})
    deployment.converting(key)
    assert finished(key)

    blocking(lambda b: b.withdraw(key.tenant_id, key.id, bytes.fromhex(first.cosigner_public_key)))
    assert deployment.state_at_b(key) == "active"
    assert signs(key)


def test_a_moved_key_is_like_any_split_key(deployment):
    key = deployment.key()
    deployment.converting(key)
    assert finished(key)
    with scopes_disabled():
        row = PersonalKey.objects.get(pk=key.pk)
    refresh.refresh(actor=SYSTEM, key=row, authoriser=maintenance.authoriser_of("google"))
    assert signs(key)
    assert "intact" in deployment.process.verify_audit().stdout
