"""What the doctor says of a NetHSM."""

from __future__ import annotations

import pytest

from keys.hsm.registration import hsm_key_managers
from keys.selectors import hsm_reports

pytestmark = pytest.mark.django_db


@pytest.fixture
def look(settings, emulator):
    settings.HSM_PROVIDERS = ["nethsm"]
    hsm_key_managers.cache_clear()
    yield lambda: hsm_reports()[0]
    hsm_key_managers.cache_clear()


def test_an_administrator_that_the_device_does_not_know_is_named(look, settings):
    settings.NETHSM_NAMESPACE_PASSWORD = settings.NETHSM_ADMIN_PASSWORD
    settings.NETHSM_ADMIN_PASSWORD = "another passphrase"
    report = look()
    assert not report.is_ok
    assert "KEYCAST_NETHSM_ADMIN_USER" in report.fix


def test_missing_settings_are_named(look, settings):
    settings.NETHSM_URL = ""
    assert not look().is_ok


def test_a_device_in_order_is_said_to_be(look):
    report = look()
    assert report.is_ok, report
    assert "Operational" in report.detail
    assert "EMULATED" in report.detail
