"""Reading grants end at the co-signer when the owner says so, or when an app's access ends."""

from __future__ import annotations

import os

import pytest
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted
from keycast.crypto.schnorr import Keypair
from keys import jobs, services
from keys.errors import NoCapability
from keys.models import KeyState, PersonalKey
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.split import reading
from tests.keys.conftest import make_key, make_tenant, make_user

pytestmark = pytest.mark.django_db
CLIENT = "11" * 32


class Cosigner:
    """Takes note of what it is to end."""

    def __init__(self):
        self.ended, self.is_away = [], False

    async def end_reading(self, tenant_id, key_id, client):
        if self.is_away:
            raise CosignerUnavailable
        self.ended.append((tenant_id, key_id, client.hex()))

    async def close(self):
        pass


@pytest.fixture
def cosigner(monkeypatch, settings):
    settings.HSM_PROVIDERS = ["google"]
    made = Cosigner()
    monkeypatch.setattr(reading, "CosignerClient", lambda **_: made)
    return made


@pytest.fixture
def queued(monkeypatch):
    asked = []
    monkeypatch.setattr(reading, "_enqueue", lambda *named: asked.append(named))
    return asked


@pytest.fixture
def key(db):
    tenant = make_tenant()
    row = PersonalKey(tenant=tenant, user=make_user(tenant), name="Split", key_mode="hsm", hsm_provider="google")
    row.public_key, row.encrypted_half_key = Keypair.generate()[0].public_key_hex, os.urandom(100)
    row.kek_version, row.state = "test-1", KeyState.ACTIVE
    row.kms_key_name, row.kms_key_version = f"user-{row.id}", "1"
    row.authoriser_public_key, row.cosigner_public_key = "02" + os.urandom(32).hex(), os.urandom(32).hex()
    with scopes_disabled():
        row.save()
    return row


def told():
    with scopes_disabled():
        return AuditRow.objects.filter(tag=AuditTag.READING_ENDED).count()


def test_nobody_else_ends_it(key, cosigner, queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        for actor in (Actor.user(make_user(key.tenant)), Actor.client(CLIENT, "App")):
            with pytest.raises((NotPermitted, NotFound)):
                services.end_reading(actor=actor, key=key, client=CLIENT)
    assert (cosigner.ended, queued, told()) == ([], [], 0)


def test_a_whole_key_has_none(cosigner, settings):
    tenant = make_tenant()
    row = make_key(make_user(tenant), tenant)
    with pytest.raises(NoCapability):
        services.end_reading(actor=Actor.user(row.user), key=row, client=CLIENT)
    assert jobs.end_reading(str(row.id), CLIENT) is False


def test_the_owner_ends_it_and_the_log_says_so(key, cosigner, queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.end_reading(actor=Actor.user(key.user), key=key, client=CLIENT)
        assert cosigner.ended == []
    assert cosigner.ended == [(key.tenant_id, key.id, CLIENT)]
    assert (queued, told()) == ([], 1)


def test_a_job_ends_it_where_the_co_signer_is_away(key, cosigner, queued, django_capture_on_commit_callbacks):
    cosigner.is_away = True
    with django_capture_on_commit_callbacks(execute=True):
        services.end_reading(actor=Actor.user(key.user), key=key, client=CLIENT)
    assert queued == [(key.id, CLIENT)]
    cosigner.is_away = False
    assert jobs.end_reading(str(key.id), CLIENT) is True
    assert cosigner.ended == [(key.tenant_id, key.id, CLIENT)]


def test_an_app_that_ends_has_it_ended_by_a_job(key, cosigner, queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.end_reading_of_app(key_id=key.id, client="")
        services.end_reading_of_app(key_id=key.id, client=CLIENT)
    assert queued == [(key.id, CLIENT)]


def test_where_no_key_is_split_nobody_is_asked(key, settings, queued, django_capture_on_commit_callbacks):
    settings.HSM_PROVIDERS = []
    with django_capture_on_commit_callbacks(execute=True):
        services.end_reading_of_app(key_id=key.id, client=CLIENT)
    assert queued == []
