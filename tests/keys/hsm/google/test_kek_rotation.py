"""Rotating the key-encryption key in Cloud KMS, and moving from a local one to it and back."""

from __future__ import annotations

import pytest
from google.cloud import kms_v1

from keys import services as key_services
from keys.hsm.google import clients, provider
from keys.hsm.google.kek_versions import GoogleKekVersions
from keys.models import Rotation, RotationState
from keys.rotation import retiring, runner, services
from keys.rotation.errors import RotationError
from keys.rotation.retiring import KekInUse
from keys.signing.kms import registry
from tests.keys.conftest import make_key
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.hsm.google.test_kek import add_version
from tests.keys.hsm.google.test_kek import kek as kek  # noqa: PLC0414 -- a fixture
from tests.keys.rotation.conftest import OPERATOR
from tests.keys.rotation.conftest import kek_file as kek_file  # noqa: PLC0414 -- a fixture
from tests.keys.rotation.forking import sealed_under, versions

pytestmark = [pytest.mark.django_db, pytest.mark.opens_keys]
State = kms_v1.CryptoKeyVersion.CryptoKeyVersionState


@pytest.fixture
def in_google(kek, kek_file, settings, monkeypatch):
    """New secrets are sealed in Cloud KMS, old ones may be in the key file; yields the name of the key."""
    settings.GCP_KEK = kek._key
    monkeypatch.setattr(GoogleKekVersions, "settle_seconds", 0.0)
    registry.register("google", provider.kek)
    registry.reset()
    yield kek._key
    registry._factories.pop("google")
    registry.reset()


def go_google(settings):
    settings.KEK_PROVIDER = "google"


def rotate(kind="kek", scope="all"):
    return runner.run_for(services.start(actor=OPERATOR, kind=kind, scope=scope).id)


def state_of(version):
    return clients.blocking_client().get_crypto_key_version(name=version).state


def number(version):
    return int(version.rpartition("/")[2])


def test_everything_moves_to_the_new_primary_version(in_google, settings, user, tenant):
    go_google(settings)
    make_key(user, tenant)
    first = next(iter(sealed_under()))
    assert number(first) == 1
    rotation = rotate()
    assert rotation.state == RotationState.DONE, rotation.report
    second = rotation.report["version"]
    assert (number(second), sealed_under()) == (2, {second: 2})
    assert key_services.self_test(None) == []
    assert any("retire_kek" in note for note in rotation.report["notes"])


def test_a_version_that_a_killed_run_left_is_used_and_no_other_made(in_google, settings, user, tenant, kek):
    go_google(settings)
    make_key(user, tenant)
    keeper = GoogleKekVersions(in_google)
    plan = keeper.plan()
    left = add_version(kek, is_primary=False)
    assert keeper.make(plan) == left
    assert keeper.make(plan) == left, "also after the switch"
    assert keeper.others() == (plan["before"],)


def test_it_waits_until_no_process_can_use_the_old_version(in_google, settings, user, tenant, monkeypatch):
    go_google(settings)
    make_key(user, tenant)
    monkeypatch.setattr(GoogleKekVersions, "settle_seconds", 65.0)
    rotation = rotate()
    assert (rotation.state, rotation.problem) == (RotationState.RUNNING, "settling")
    Rotation.objects.update(not_before=None)
    assert runner.run_for(rotation.id).state == RotationState.DONE


def test_without_permission_it_ends_and_changes_nothing(in_google, settings, user, tenant, emulator):
    go_google(settings)
    make_key(user, tenant)
    misbehave(emulator, "error", "CreateCryptoKeyVersion", code="PERMISSION_DENIED")
    rotation = rotate()
    for _ in range(runner.MAX_WAITS):
        Rotation.objects.update(not_before=None)
        rotation = runner.run_for(rotation.id)
    assert (rotation.state, rotation.report["error"]) == (RotationState.FAILED, "kek-unavailable")
    assert [number(version) for version in sealed_under()] == [1]


def test_keys_move_from_the_file_to_cloud_kms_and_back(in_google, settings, user, tenant, kek_file):
    key = make_key(user, tenant)
    assert sealed_under() == {"first": 2}
    go_google(settings)
    assert rotate("rewrap").state == RotationState.DONE
    assert [number(version) for version in sealed_under()] == [1]
    with pytest.raises(RotationError) as refused:
        retiring.retire_kek(actor=OPERATOR, version="first")
    assert "take the file away" in refused.value.public_message
    key.refresh_from_db()
    assert (key.key_mode, key.kek_provider) == ("encrypted", "google")
    assert key_services.self_test(None) == []
    settings.KEK_PROVIDER = "local"
    assert rotate("rewrap").state == RotationState.DONE
    assert sealed_under() == {"first": 2}
    key.refresh_from_db()
    assert key.kek_provider == "local"
    assert versions(kek_file) == ["first"]
    assert key_services.self_test(None) == []


def test_an_old_version_is_disabled_when_nothing_needs_it(in_google, settings, user, tenant, tmp_path):
    go_google(settings)
    make_key(user, tenant)
    old = next(iter(sealed_under()))
    with pytest.raises(KekInUse):
        retiring.retire_kek(actor=OPERATOR, version=old)
    rotate()
    with pytest.raises(RotationError):
        retiring.retire_kek(actor=OPERATOR, version=f"{in_google}/cryptoKeyVersions/99")
    retiring.retire_kek(actor=OPERATOR, version=old)
    assert state_of(old) == State.DISABLED
    assert key_services.self_test(None) == []
