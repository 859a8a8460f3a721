"""Keys that wait for their HSM part, with a co-signer and halves that are made up."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.crypto.schnorr import Keypair
from keycast.emulators.kms.store import State
from keys import services
from keys.hsm import provisioning, registration
from keys.hsm.google.backend import GoogleBackend
from keys.hsm.google.keeper import GoogleKeyManager
from keys.lifecycle import modes
from keys.models import PersonalKey
from tests.keys.conftest import make_tenant, make_user
from tests.keys.hsm.google.conftest import RING


class Killed(BaseException):
    """The process ends here: nothing after this line runs, nothing that was not committed stays."""


class FakeHalves:
    """Fills a row as keys.split.halves does, with halves of nothing."""

    def create(self, row):
        keypair, _ = Keypair.generate()
        self._fill(row, keypair.public_key_hex, "")

    def adopt(self, row, secret):
        with Keypair.from_secret(secret) as keypair:
            self._fill(row, keypair.public_key_hex, os.urandom(32).hex())

    def _fill(self, row, public_key, tweak):
        row.public_key, row.key_tweak, row.cosigner_public_key = public_key, tweak, os.urandom(32).hex()
        row.encrypted_half_key, row.kek_version = os.urandom(100), "test-1"


class FakeCosigner:
    """Knows authorisers by key; can be killed or be away."""

    def __init__(self):
        self.known, self.forgotten, self.failure = {}, [], None

    def register(self, row, public_key):
        if self.failure:
            raise self.failure
        assert self.known.setdefault(row.id, public_key) == public_key

    def forget(self, row):
        if self.failure:
            raise self.failure
        self.forgotten.append(row.id)


@pytest.fixture
def cosigner():
    return FakeCosigner()


@pytest.fixture
def world(db, settings, emulator, monkeypatch, cosigner):
    settings.HSM_PROVIDERS = ["google"]
    keeper = GoogleKeyManager(RING)
    monkeypatch.setattr(registration, "hsm_key_managers", lambda: {"google": keeper})
    monkeypatch.setattr(
        registration, "cosigner_callbacks", lambda: provisioning.CosignerCallbacks(cosigner.register, cosigner.forget)
    )
    monkeypatch.setattr(modes, "_backends", [*modes._backends, GoogleBackend(FakeHalves())])
    monkeypatch.setattr(provisioning, "_PAUSES", (0.05, 0.1))
    return make_tenant(key_modes=["encrypted", "hsm"])


@pytest.fixture
def owner(world):
    return make_user(world)


def request_key(owner, tenant, secret=None):
    wanted = {"actor": Actor.user(owner), "tenant": tenant, "user": owner, "name": "Main", "key_mode": "hsm"}
    if secret is None:
        return services.create_key(**wanted)
    return services.import_key(**wanted, secret=secret)


def now(key):
    with scopes_disabled():
        return PersonalKey.objects.get(pk=key.pk)


def age(key, hours=2):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(created_at=timezone.now() - timedelta(hours=hours))


def tags(key):
    return list(AuditRow.objects.filter(key_id=key.id.hex).order_by("sequence").values_list("tag", flat=True))


def version_states(emulator):
    versions = [version for key in emulator.store.keys.values() for version in key.versions.values()]
    return [State(version.current_state()).name for version in versions]


@pytest.fixture(autouse=True)
def empty_ring(running_emulator):
    running_emulator.store.keys.clear()
