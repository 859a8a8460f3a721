"""Importing in halves: the page's script gets what it needs for one attempt, and hands back halves alone."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django_scopes import scopes_disabled

from accounts.services.tenants import change_tenant
from keycast.audit.entries import Actor
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip19 import encode_nsec
from keys.errors import SealedHalfRefused
from keys.hsm.google.backend import GoogleBackend
from keys.lifecycle import modes
from keys.lifecycle.published import is_published
from keys.models import PersonalKey
from keys.signing import factory, sealed_halves
from keys.signing.sealed_halves import HalfRole, PageKey, SealedHalfError, SealedHalves
from keys.split import split_import
from tests.keys.signing.page import drawn, seal

BEGIN, IMPORT = "/keys/import/split/", "/keys/import/"
COSIGNER = sealed_halves.fresh_key()


class Halves:
    """A KeySplitter whose co-signer keeps nothing: both sealed halves are opened and looked at."""

    def page_keys(self, tenant_id: Any, key_id: Any) -> tuple[PageKey, bytes]:
        drawn = factory.key_maker().draw_page_key(tenant_id=tenant_id, key_id=key_id)
        return drawn, sealed_halves.public_of(COSIGNER)

    def adopt_sealed(self, row: PersonalKey, halves: SealedHalves) -> None:
        half = factory.key_maker().take_half(halves)
        try:
            sealed_halves.open_half(halves.sealed_b, COSIGNER, halves.said, HalfRole.COSIGNER)
        except SealedHalfError:
            raise SealedHalfRefused from None
        row.encrypted_half_key, row.kek_version = half.pack(), half.sealed.kek_version
        row.public_key, row.cosigner_public_key = halves.said.public_key.hex(), halves.said.half_b.hex()
        row.key_tweak = halves.said.tweak.hex()


@pytest.fixture(autouse=True)
def offered(tenant: Any, settings: Any, monkeypatch: Any) -> None:
    settings.GCP_KEY_RING = "projects/test/locations/europe-west1/keyRings/keycast"
    settings.HSM_PROVIDERS = ["google"]
    monkeypatch.setattr(modes, "_backends", [*modes._backends, GoogleBackend(Halves())])  # type: ignore[arg-type]
    monkeypatch.setattr("keys.hsm.registration.splitter", Halves)
    monkeypatch.setattr("keys.hsm.provisioning.enqueue", lambda key_id: None)
    change_tenant(actor=Actor.command("test"), tenant=tenant, key_modes=["encrypted", "hsm"])


class Page:
    """The import page of somebody, with a script that does as it is told."""

    def __init__(self, person: Any) -> None:
        self.browser = person.browser
        self.told = self.browser.post(BEGIN).json()
        self.secret = Keypair.generate()[1]

    def made(self, **changes: str) -> str:
        ids = {"tenant_id": self.told["tenant"], "key_id": self.told["key"]}
        ids = {name: UUID(hex=value) for name, value in ids.items()}
        said, a, b = drawn(self.secret, **ids, token=bytes.fromhex(self.told["token"]))
        self.public_key = said.public_key.hex()
        made = {name: getattr(said, name).hex() for name in ("public_key", "half_a", "half_b", "tweak")}
        made["sealed_a"] = seal(a, bytes.fromhex(self.told["signer_key"]), said, HalfRole.SIGNER).hex()
        made["sealed_b"] = seal(b, bytes.fromhex(self.told["cosigner_key"]), said, HalfRole.COSIGNER).hex()
        return json.dumps({**made, **changes})

    def send(self, split: str, choice: str = "hsm:google", **also: str) -> int:
        form = {"name": "Mine", "choice": choice, "understood": "on", "split": split, **also}
        return int(self.browser.post(IMPORT, form).status_code)


@pytest.fixture
def page(ada: Any) -> Page:
    return Page(ada)


def keys() -> list[PersonalKey]:
    with scopes_disabled():
        return list(PersonalKey.objects.all())


@pytest.mark.parametrize("sent", ["", "x", "[]", "{}", "null", '{"half_a": 1}', "[" * 3000, '{"public_key": "00"}'])
def test_what_is_no_split_key_is_refused(page: Page, sent: str) -> None:
    assert page.send(sent) == 422
    assert keys() == []


@pytest.mark.parametrize("field", ["public_key", "half_a", "half_b", "tweak", "sealed_a", "sealed_b"])
@pytest.mark.parametrize("value", ["", "00", "zz" * 32, "00" * 32, "00" * 113])
def test_a_part_that_is_not_what_it_should_be_is_refused(page: Page, field: str, value: str) -> None:
    assert page.send(page.made(**{field: value})) == 422
    assert keys() == []


def test_what_was_made_for_another_page_is_refused(page: Page, ada: Any) -> None:
    made = page.made()
    Page(ada)
    assert page.send(made) == 422
    assert keys() == []


def test_a_page_is_good_for_one_attempt(page: Page) -> None:
    made = page.made()
    assert page.send("{}") == 422
    assert page.send(made) == 422
    assert keys() == []


def test_a_page_left_open_for_too_long_is_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    made = page.made()
    monkeypatch.setattr(split_import, "GOOD_FOR", -1.0)
    assert page.send(made) == 422
    assert keys() == []


def test_the_key_itself_beside_its_halves_is_refused(page: Page) -> None:
    assert page.send(page.made(), secret=encode_nsec(Keypair.generate()[1])) == 422
    assert keys() == []


def test_halves_are_not_kept_in_a_mode_that_has_none(page: Page) -> None:
    assert page.send(page.made(), choice="encrypted:local") == 422
    assert keys() == []


def test_a_published_key_is_refused_in_halves_too(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    made = page.made()
    assert not is_published(page.public_key)
    monkeypatch.setattr("keys.services.is_refused", lambda public_key: public_key == page.public_key)
    assert page.send(made) == 422
    assert keys() == []


def test_somebody_elses_page_is_of_no_use(page: Page, bob: Any) -> None:
    made = page.made()
    page.browser = bob.browser
    assert page.send(made) == 422
    assert keys() == []


def test_who_is_not_signed_in_gets_no_page(ada: Any) -> None:
    ada.browser.logout()
    answer = ada.browser.post(BEGIN)
    assert answer.status_code == 302
    assert "login" in answer["Location"]


def test_a_key_is_kept_under_the_id_that_its_halves_were_sealed_for(page: Page) -> None:
    assert page.send(page.made()) == 302
    (key,) = keys()
    assert (key.id.hex, key.public_key, key.is_imported) == (page.told["key"], page.public_key, True)
    assert page.browser.session.get("split_import") is None


def test_the_same_key_is_not_taken_twice(page: Page, ada: Any) -> None:
    assert page.send(page.made()) == 302
    again = Page(ada)
    again.secret = page.secret
    assert again.send(again.made()) == 422
    assert len(keys()) == 1


def test_the_page_says_who_splits_without_scripts(ada: Any) -> None:
    shown = ada.browser.get(IMPORT).content.decode()
    assert "Without scripts the server splits the key." in shown
    assert 'data-split-choices="hsm:google"' in shown
    assert 'type="module"' in shown


def test_a_page_without_split_keys_has_no_script_for_them(ada: Any, tenant: Any) -> None:
    change_tenant(actor=Actor.command("test"), tenant=tenant, key_modes=["encrypted"])
    shown = ada.browser.get(IMPORT).content.decode()
    assert "data-split" not in shown
    assert "import_split.js" not in shown
