"""What the doctor says of HSMs: nothing where there is none, what is wrong and what to do where there is."""

from __future__ import annotations

import pytest

from keys.hsm.registration import hsm_key_managers
from keys.selectors import hsm_reports
from tests.keys.hsm.google.conftest import misbehave

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


def test_a_refused_permission_names_the_roles(look, emulator):
    misbehave(emulator, "error", "ListCryptoKeys", code="PERMISSION_DENIED")
    report = look()["Cloud KMS"]
    assert not report.is_ok
    assert "roles" in report.fix


def test_an_emulator_that_answers_is_called_one(look):
    report = look()["Cloud KMS"]
    assert report.is_ok, report
    assert "EMULATED" in report.detail
    assert "ms" in report.detail
