"""Replacing a key by a new one: refused without a fresh proof, said in plain words, done by the job."""

from __future__ import annotations

from typing import Any

import pytest

from keys import jobs
from keys.models import PersonalKey, Rotation
from keys.services import lock_key, schedule_destruction
from tests.portal.conftest import sign_in
from tests.portal.test_converting import words


def replaced(person: Any) -> PersonalKey:
    key = person.key()
    person.browser.post(f"/keys/{key.id}/replace/", {"understood": "on"})
    assert jobs.step_rotation(str(Rotation.objects.get().id))
    return PersonalKey.objects.get(pk=key.pk)


@pytest.fixture
def proven(ada: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("keys.portal.replacing.step_up", lambda request, back_to: None)
    return ada


def test_without_a_fresh_proof_nothing_is_begun(ada: Any) -> None:
    key = ada.key()
    sign_in(ada.browser, ada.user, ada.tenant)
    answer = ada.browser.post(f"/keys/{key.id}/replace/", {"understood": "on"})
    assert answer.status_code == 302
    assert "reauthenticate" in answer["Location"]
    assert not Rotation.objects.exists()


def test_without_the_tick_nothing_is_begun(proven: Any) -> None:
    key = proven.key()
    assert proven.browser.post(f"/keys/{key.id}/replace/", {}).status_code == 422
    assert not Rotation.objects.exists()


def test_another_persons_key_is_not_found(proven: Any, bob: Any) -> None:
    key = bob.key()
    assert proven.browser.get(f"/keys/{key.id}/replace/").status_code == 404
    assert proven.browser.post(f"/keys/{key.id}/replace/", {"understood": "on"}).status_code == 404


def test_a_key_about_to_be_destroyed_is_not_replaced(proven: Any) -> None:
    key = proven.key()
    schedule_destruction(actor=proven.actor, key=key)
    assert proven.browser.get(f"/keys/{key.id}/replace/").status_code == 302
    assert "replace/" not in words(proven.browser.get(f"/keys/{key.id}/"))


def test_both_keys_say_what_became_of_them(proven: Any) -> None:
    old = replaced(proven)
    assert old.replaced_by is not None
    page = proven.browser.get(f"/keys/{old.id}/").content.decode()
    assert f'href="/keys/{old.replaced_by.id}/"' in page
    assert "This key still reads" in page
    assert "/replace/" not in page
    page = proven.browser.get(f"/keys/{old.replaced_by.id}/").content.decode()
    assert "took the place of" in page
    assert "Replaced" in proven.browser.get("/keys/").content.decode()
    assert proven.browser.post(f"/keys/{old.id}/replace/", {"understood": "on"}).status_code == 302
    assert PersonalKey.objects.count() == 2


def test_it_waits_for_the_job_and_says_so(proven: Any) -> None:
    key = proven.key()
    lock_key(actor=proven.actor, key=key)
    proven.browser.post(f"/keys/{key.id}/replace/", {"understood": "on"})
    assert "is being made in the place" in proven.browser.get(f"/keys/{key.id}/").content.decode()
    proven.browser.post(f"/keys/{key.id}/replace/", {"understood": "on"})
    assert Rotation.objects.count() == 1
