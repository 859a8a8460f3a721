"""A key ring and rows of keys in it, and an inventory that compares them."""

from __future__ import annotations

import os
import uuid

import pytest
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keys.hsm import registration
from keys.hsm.inventory import runs
from keys.hsm.inventory.listing import hsm_key_readers
from keys.models import HsmInventory, InventoryState, PersonalKey
from tests.keys.conftest import make_tenant, make_user
from tests.keys.hsm.google.conftest import RING

ACTOR = Actor.command("test")


@pytest.fixture(autouse=True)
def ring(db, settings, emulator):
    """An empty ring, and an inventory that knows of it."""
    emulator.store.keys.clear()
    settings.HSM_PROVIDERS = ["google"]
    hsm_key_readers.cache_clear()
    registration.hsm_key_managers.cache_clear()
    yield emulator
    hsm_key_readers.cache_clear()
    registration.hsm_key_managers.cache_clear()


@pytest.fixture
def tenant(ring):
    return make_tenant(key_modes=["encrypted", "hsm"])


@pytest.fixture
def owner(tenant):
    return make_user(tenant)


def name_of(key_id=None):
    return f"{RING}/cryptoKeys/user-{key_id or uuid.uuid4()}"


def row_of(owner, tenant, keeper, **fields):
    """A key as it is once it was made: a row, and what the ring has of it."""
    name = fields.pop("name", None) or name_of()
    keeper.create(name.rpartition("/")[2])
    status = keeper.check(name)
    wanted = {
        "tenant": tenant,
        "user": owner,
        "name": "Main",
        "key_mode": "hsm",
        "hsm_provider": "google",
        "state": "active",
        "public_key": os.urandom(32).hex(),
        "encrypted_half_key": b"half",
        "kek_version": "1",
        "kms_key_name": name,
        "kms_key_version": status.version,
        "authoriser_public_key": status.public_key.hex(),
        "cosigner_public_key": os.urandom(32).hex(),
    }
    with scopes_disabled():
        return PersonalKey.objects.create(**{**wanted, **fields})


def change(key, **fields):
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(**fields)


def take(steps=10):
    inventory = runs.start(actor=ACTOR, provider="google")
    for _ in range(steps):
        inventory = runs.advance(inventory.pk)
        if inventory.state != InventoryState.RUNNING:
            break
    return HsmInventory.objects.get(pk=inventory.pk)


def kinds(inventory):
    return [finding["kind"] for finding in inventory.report.get("findings", [])]


def version(ring, key):
    return ring.store.version(key.kms_key_version)
