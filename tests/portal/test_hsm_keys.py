"""Choosing a key that an HSM guards: what is said before, while it is made, and when it could not be made."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django_scopes import scopes_disabled

from accounts.services.tenants import change_tenant
from keycast.audit.entries import Actor
from keycast.crypto.schnorr import Keypair
from keys.hsm.google.backend import GoogleBackend
from keys.lifecycle import modes
from keys.models import KeyState, PersonalKey
from keys.signing.local import CAPABILITIES as ENCRYPTED

HTMX = {"HTTP_HX_REQUEST": "true"}


class FakeHalves:
    def create(self, row: PersonalKey) -> None:
        row.public_key = Keypair.generate()[0].public_key_hex
        row.encrypted_half_key, row.kek_version, row.cosigner_public_key = (
            os.urandom(100),
            "test-1",
            os.urandom(32).hex(),
        )


class NetHsmLike:
    key_mode, provider = "hsm", "nethsm"

    @property
    def capabilities(self) -> Any:
        from keys.hsm.nethsm.signer import CAPABILITIES

        return CAPABILITIES

    def problem(self) -> str:
        return ""


@pytest.fixture
def offered(tenant: Any, settings: Any, monkeypatch: Any) -> None:
    settings.GCP_KEY_RING = "projects/test/locations/europe-west1/keyRings/keycast"
    settings.KMS_EMULATOR = True
    monkeypatch.setattr(modes, "_backends", [*modes._backends, GoogleBackend(FakeHalves()), NetHsmLike()])
    monkeypatch.setattr("keys.hsm.provisioning.enqueue", lambda key_id: None)
    change_tenant(actor=Actor.command("test"), tenant=tenant, key_modes=["encrypted", "hsm"])


def made(ada: Any, state: str = "pending", reason: str = "") -> PersonalKey:
    ada.browser.post("/keys/new/", {"name": "Split", "choice": "hsm:google"})
    with scopes_disabled():
        key = PersonalKey.objects.get()
        if state == KeyState.FAILED:
            key.public_key = key.encrypted_half_key = None
        key.state, key.state_reason = state, reason
        key.save()
    return key


@pytest.mark.usefixtures("offered")
def test_what_each_way_can_and_cannot_do_is_said_before_choosing(ada: Any) -> None:
    page = ada.browser.get("/keys/new/").content.decode()
    assert ENCRYPTED.name in page
    assert "HSM-authorised, split key (emulated)" in page
    assert "It protects nothing" in page
    assert "nowhere: two signers hold a half each" in page
    assert "cannot be read or written with this key" in page
    assert "never leaves" not in page


@pytest.mark.usefixtures("offered")
def test_a_way_that_takes_no_existing_key_is_not_offered_for_import(ada: Any) -> None:
    page = ada.browser.get("/keys/import/").content.decode()
    assert "hsm:google" in page
    assert "hsm:nethsm" not in page


def test_no_emulator_is_spoken_of_where_there_is_none(ada: Any) -> None:
    assert "mulated" not in ada.browser.get("/keys/new/").content.decode()


@pytest.mark.usefixtures("offered")
def test_a_pending_key_shows_what_it_waits_for_and_asks_again(ada: Any) -> None:
    key = made(ada, reason="The HSM does not answer.")
    page = ada.browser.get(f"/keys/{key.id}/").content.decode()
    assert f'hx-get="/keys/{key.id}/progress/"' in page
    assert "The HSM does not answer." in page
    assert "ready" not in page.split("<noscript>")[0].split("<main")[1]
    assert ada.browser.get(f"/keys/{key.id}/progress/", **HTMX).status_code == 204
    with scopes_disabled():
        PersonalKey.objects.update(
            state="active",
            kms_key_version=f"{key.kms_key_name}/cryptoKeyVersions/1",
            authoriser_public_key="02" + "11" * 32,
        )
    assert ada.browser.get(f"/keys/{key.id}/progress/", **HTMX)["HX-Refresh"] == "true"
    assert "progress" not in ada.browser.get(f"/keys/{key.id}/").content.decode()


@pytest.mark.usefixtures("offered")
def test_a_key_that_could_not_be_made_can_be_tried_again_and_removed(ada: Any, bob: Any) -> None:
    key = made(ada, "failed", "The HSM did not finish the key in time.")
    for address in ("/keys/", f"/keys/{key.id}/"):
        page = ada.browser.get(address).content.decode()
        assert "could not be made" in page
        assert "did not finish the key in time" in page
        assert "/keys/new/?name=Split&amp;choice=hsm%3Agoogle" in page
    again = ada.browser.get("/keys/new/?name=Split&choice=hsm:google").content.decode()
    assert 'value="Split"' in again
    assert bob.browser.post(f"/keys/{key.id}/remove/").status_code == 404
    assert ada.browser.post(f"/keys/{key.id}/remove/").status_code == 302
    with scopes_disabled():
        assert PersonalKey.objects.get().state == KeyState.DESTROYED
    assert "could not be made" not in ada.browser.get("/keys/").content.decode()


def test_a_key_in_use_is_not_removed_like_one_that_failed(ada: Any) -> None:
    key = ada.key()
    assert ada.browser.post(f"/keys/{key.id}/remove/").status_code == 404
