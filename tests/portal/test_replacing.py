"""Replacing a key by a new one: refused without a fresh proof, said in plain words, done by the job."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from bunker.models import Connection
from keys import jobs
from keys.models import PersonalKey, Rotation
from keys.rotation import runner, services
from keys.rotation.scope import RotationScope
from keys.services import lock_key, schedule_destruction
from tests.portal.conftest import OPERATOR, sign_in
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


def test_an_app_on_a_replaced_remote_signer_key_is_told_to_connect_again(proven: Any) -> None:
    app = proven.app()
    page = f"/apps/{app.id}/"
    assert "was replaced" not in words(proven.browser.get(page))
    started = services.start(actor=OPERATOR, kind="transport", scope=RotationScope.of_key(app.key), grace_days=7)
    runner.run_for(started.id)
    Connection.objects.filter(pk=app.pk).update(
        state="active", client_public_key="11" * 32, bound_at=timezone.now(), secret_expires_at=None
    )
    told = words(proven.browser.get(page))
    assert "remote-signer key that this app speaks to was replaced" in told
    assert "It is served until" in told
    assert f'href="/apps/connect/?key={app.key_id}"' in told
    assert "Connect again" in words(proven.browser.get("/apps/"))
