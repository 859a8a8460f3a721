"""What the doctor says of HSMs: nothing where there is none, what is wrong and what to do where there is."""

from __future__ import annotations

import pytest

from keys.hsm.google import inspection
from keys.hsm.registration import hsm_key_managers
from keys.selectors import hsm_reports
from tests.keys.hsm.google.conftest import AUTHORISER, KEEPER, RING

pytestmark = pytest.mark.django_db


@pytest.fixture
def look(settings, emulator, tmp_path):
    settings.HSM_PROVIDERS = ["google"]
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(tmp_path / "nobody.sock"), ""
    hsm_key_managers.cache_clear()
    yield lambda: {report.name: report for report in hsm_reports()}
    hsm_key_managers.cache_clear()


def test_nothing_is_said_where_no_hsm_is_set_up(settings):
    settings.HSM_PROVIDERS = []
    assert hsm_reports() == []


def test_a_missing_key_ring_and_a_missing_co_signer_are_named_with_what_to_do(look, settings):
    settings.GCP_KEY_RING = ""
    found = look()
    assert not found["Cloud KMS"].is_ok
    assert "KEYCAST_GCP_KEY_RING" in found["Cloud KMS"].fix
    assert not found["co-signer"].is_ok
    assert "manage.py cosigner" in found["co-signer"].fix


def test_a_missing_permission_is_named_with_the_identity_that_lacks_it(look, two_identities):
    found = look()
    assert found["Cloud KMS"].is_ok, found
    assert found["Cloud KMS, two identities"].is_ok, found
    two_identities.apply(
        {
            "access": {
                AUTHORISER: {RING: ["cloudkms.cryptoKeyVersions.useToSign"]},
                KEEPER: {RING: [each for each in inspection.KEEPER_PERMISSIONS if "destroy" not in each]},
            }
        }
    )
    found = look()
    assert "cloudkms.cryptoKeyVersions.viewPublicKey" in found["Cloud KMS"].detail
    assert "role" in found["Cloud KMS"].fix
    assert found["Cloud KMS, two identities"].detail == "The keeper may not: cloudkms.cryptoKeyVersions.destroy."


def test_an_authoriser_that_may_do_more_than_sign_is_found(look, two_identities, monkeypatch):
    everything = [*inspection.AUTHORISER_PERMISSIONS, *inspection.KEEPER_PERMISSIONS]
    two_identities.apply({"access": {AUTHORISER: {RING: everything}, KEEPER: {RING: everything}}})
    monkeypatch.setattr(inspection, "_is_emulated", lambda: False)
    report = look()["Cloud KMS, two identities"]
    assert not report.is_ok
    assert "cloudkms.cryptoKeyVersions.destroy" in report.detail


def test_a_key_ring_that_does_not_exist_is_found(look, settings):
    settings.GCP_KEY_RING = RING + "-of-nobody"
    assert "no such ring" in look()["Cloud KMS"].detail


def test_an_emulator_that_answers_is_called_one(look):
    report = look()["Cloud KMS"]
    assert report.is_ok, report
    assert "EMULATED" in report.detail
    assert "ms" in report.detail
