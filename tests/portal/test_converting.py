"""Moving a key to the HSM from its page: what is refused, what is said, and how far it is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from keys.hsm.google.backend import GoogleBackend
from keys.lifecycle import modes
from keys.lifecycle.modes import EncryptedBackend
from keys.models import Conversion, PersonalKey
from keys.models.hsm import ConversionStep
from tests.portal.test_keys import confirmed, sign_in

RING = "projects/test/locations/europe-west1/keyRings/keycast"


@pytest.fixture
def offering(monkeypatch: pytest.MonkeyPatch, settings: Any, tenant: Any) -> None:
    """The tenant offers both ways; no job runs."""
    settings.GCP_KEY_RING, settings.KMS_EMULATOR = RING, True
    monkeypatch.setattr(modes, "_backends", [EncryptedBackend(), GoogleBackend()])
    monkeypatch.setattr("keys.split.conversion.wakeup._enqueue", lambda key_id: None)
    tenant.key_modes = ["encrypted", "hsm"]
    tenant.save()


def words(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_move_that_the_tenant_does_not_offer_is_not_to_be_seen(ada: Any) -> None:
    key = ada.key()
    assert "Move to the HSM" not in words(ada.browser.get(f"/keys/{key.id}/"))
    answer = ada.browser.post(f"/keys/{key.id}/convert/", {"understood": "on"})
    assert answer["Location"] == f"/keys/{key.id}/"
    assert not Conversion.objects.exists()


def test_a_move_needs_a_fresh_proof(ada: Any, offering: None) -> None:
    key = ada.key()
    sign_in(ada.browser, ada.user, ada.tenant)
    for answer in (
        ada.browser.get(f"/keys/{key.id}/convert/"),
        ada.browser.post(f"/keys/{key.id}/convert/", {"understood": "on"}),
    ):
        assert answer["Location"].startswith("/account/")
    assert not Conversion.objects.exists()


def test_a_move_needs_the_tick(ada: Any, offering: None) -> None:
    key = ada.key()
    confirmed(ada)
    assert ada.browser.post(f"/keys/{key.id}/convert/", {}).status_code == 422
    assert not Conversion.objects.exists()


def test_what_changes_is_said_before(ada: Any, offering: None) -> None:
    key = ada.key()
    assert "Move to the HSM" in words(ada.browser.get(f"/keys/{key.id}/"))
    confirmed(ada)
    page = words(ada.browser.get(f"/keys/{key.id}/convert/"))
    for text in (
        "no way back",
        "public key does not change",
        "HSM-authorised, split key (emulated)",
        "protects nothing",
    ):
        assert text in page


def test_the_page_shows_how_far_it_is_and_can_stop_it(ada: Any, offering: None) -> None:
    key = ada.key()
    confirmed(ada)
    ada.browser.post(f"/keys/{key.id}/convert/", {"understood": "on"})
    page = words(ada.browser.get(f"/keys/{key.id}/"))
    assert "being moved to the HSM" in page
    assert "Move to the HSM…" not in page
    ask = f"/keys/{key.id}/convert/progress/?seen=split"
    assert ada.browser.get(ask, headers={"HX-Request": "true"}).status_code == 204
    ada.browser.post(f"/keys/{key.id}/convert/stop/")
    news = ada.browser.get(ask, headers={"HX-Request": "true"})
    assert news["HX-Refresh"] == "true"
    assert "being removed" in words(ada.browser.get(f"/keys/{key.id}/"))
    assert PersonalKey.objects.get(pk=key.id).key_mode == "encrypted"


def test_a_failed_move_says_why_and_ends_nowhere_dead(ada: Any, offering: None) -> None:
    key = ada.key()
    confirmed(ada)
    ada.browser.post(f"/keys/{key.id}/convert/", {"understood": "on"})
    Conversion.objects.update(
        step=ConversionStep.FAILED, half_a=None, half_b=None, problem="The HSM could not make the key."
    )
    page = words(ada.browser.get(f"/keys/{key.id}/"))
    assert "The HSM could not make the key. Nothing has changed" in page
    assert "Try again" in page
    ada.browser.post(f"/keys/{key.id}/convert/stop/")
    assert not Conversion.objects.exists()
    assert ada.browser.post(f"/keys/{key.id}/convert/stop/").status_code == 302


def test_nobody_moves_or_watches_the_key_of_another(ada: Any, offering: None, bob: Any) -> None:
    key = ada.key()
    confirmed(bob)
    for path in ("convert/", "convert/progress/"):
        assert bob.browser.get(f"/keys/{key.id}/{path}").status_code == 404
    for path in ("convert/", "convert/stop/"):
        assert bob.browser.post(f"/keys/{key.id}/{path}", {"understood": "on"}).status_code == 404
