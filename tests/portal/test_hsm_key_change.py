"""Another HSM key for a key, as its owner sees it: what proves the present one, and what waits and can be refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keys.models import AuthoriserProof, PersonalKey, ProofKind, Succession, SuccessionStep
from tests.portal.test_hsm_keys import made
from tests.portal.test_hsm_keys import offered as offered  # noqa: PLC0414 -- a fixture

VERSION = "projects/test/locations/europe-west1/keyRings/keycast/cryptoKeys/user-2/cryptoKeyVersions/1"
DAY = datetime(2031, 5, 6, 7, 8, tzinfo=UTC)


@pytest.fixture
def key(ada: Any, offered: Any) -> PersonalKey:
    key = made(ada)
    with scopes_disabled():
        key.state, key.authoriser_public_key = "active", "02" + "11" * 32
        key.kms_key_version = f"{key.kms_key_name}/cryptoKeyVersions/1"
        key.save()
    return key


@pytest.fixture
def going(key: PersonalKey) -> Succession:
    with scopes_disabled():
        return Succession.objects.create(
            key=key,
            step=SuccessionStep.WAITING,
            old_version=key.kms_key_version,
            old_public_key=key.authoriser_public_key,
            kms_key_name=VERSION.rpartition("/cryptoKeyVersions")[0],
            kms_key_version=VERSION,
            authoriser_public_key="03" + "22" * 32,
            waits_until=DAY,
        )


def page(person: Any, key: PersonalKey) -> str:
    return str(person.browser.get(f"/keys/{key.id}/").content.decode())


def test_what_proves_the_hsm_key_is_said(ada: Any, key: PersonalKey, settings: Any) -> None:
    assert "not proved" in page(ada, key)
    proof = AuthoriserProof.objects.create(
        key=key, kind=ProofKind.ATTESTATION, authoriser_public_key=key.authoriser_public_key, checked_at=timezone.now()
    )
    assert "attested by an emulator, which proves nothing" in page(ada, key)
    settings.KMS_EMULATOR = False
    assert "attested by the HSM that made it" in page(ada, key)
    AuthoriserProof.objects.filter(pk=proof.pk).update(authoriser_public_key="02" + "33" * 32)
    assert "not proved" in page(ada, key), "a proof of another HSM key"


def test_a_stranger_cannot_refuse_and_there_has_to_be_something_to_refuse(ada: Any, bob: Any, key: PersonalKey) -> None:
    address = f"/keys/{key.id}/hsm-key/refuse/"
    assert bob.browser.post(address).status_code == 404
    assert ada.browser.get(address).status_code == 405
    assert "No new HSM key waits" in ada.browser.post(address, follow=True).content.decode()


def test_a_new_hsm_key_is_shown_with_its_day_and_refused_with_one_click(
    ada: Any, key: PersonalKey, going: Succession
) -> None:
    shown = page(ada, key)
    assert "Another HSM key is to authorise" in shown
    assert "2031" in shown
    assert VERSION in shown
    done = ada.browser.post(f"/keys/{key.id}/hsm-key/refuse/", follow=True).content.decode()
    assert "The new HSM key is refused" in done
    assert "Refuse it" not in done
    with scopes_disabled():
        assert Succession.objects.get().step == SuccessionStep.REFUSED
