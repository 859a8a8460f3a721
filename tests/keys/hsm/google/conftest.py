"""An emulator in this process, and keys in it."""

from __future__ import annotations

import os

import pytest

from keycast.emulators.kms.faults import KmsFault, KmsFaultKind
from keycast.emulators.kms.server import KmsEmulator
from keys.hsm.google import clients
from keys.hsm.google.authoriser import GoogleAuthoriser
from keys.hsm.google.keeper import GoogleKeyManager
from keys.refs import HsmRef

RING = "projects/test/locations/europe-west1/keyRings/keycast"
TRANSIENT_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL")


@pytest.fixture(scope="session")
def running_emulator():
    with KmsEmulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator, settings):
    settings.KMS_EMULATOR = True
    settings.KMS_ENDPOINT = running_emulator.address
    settings.GCP_KEY_RING = RING
    clients.reset()
    running_emulator.apply({"faults": [], "pending_seconds": 0})
    running_emulator.calls.clear()
    yield running_emulator
    running_emulator.apply({"faults": [], "pending_seconds": 0})
    clients.reset()


@pytest.fixture
def keeper(emulator):
    return GoogleKeyManager(RING)


@pytest.fixture
def authoriser(emulator):
    return GoogleAuthoriser()


def make_hsm_key(keeper, name_id=None):
    name = keeper.create(name_id or f"user-{os.urandom(8).hex()}").name
    status = keeper.check(name)
    return HsmRef(name, status.version, status.public_key.hex())


@pytest.fixture
def hsm(keeper, emulator):
    made = make_hsm_key(keeper)
    emulator.calls.clear()
    return made


def misbehave(emulator, kind, *methods, **fields):
    emulator.faults.set([KmsFault(KmsFaultKind(kind), methods, **fields)])
