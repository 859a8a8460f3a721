"""An emulator in this process, and keys in it."""

from __future__ import annotations

import json
import os

import pytest

from keycast.emulators.kms.faults import KmsFault, KmsFaultKind
from keycast.emulators.kms.server import KmsEmulator
from keys.hsm.google import clients, inspection
from keys.hsm.google.authoriser import GoogleAuthoriser
from keys.hsm.google.keeper import GoogleKeyManager
from keys.refs import HsmRef

RING = "projects/test/locations/europe-west1/keyRings/keycast"
WELL_BEHAVED = {
    **{"faults": [], "access": {}, "quotas": {}, "key_rings": [RING], "attests": True},
    **{"pending_seconds": 0, "disabling_seconds": 0, "generation_failures": 0},
}
TRANSIENT_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL")


@pytest.fixture(scope="session")
def running_emulator():
    with KmsEmulator(key_rings=(RING,)) as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator, settings):
    settings.KMS_EMULATOR = True
    settings.KMS_ENDPOINT = running_emulator.address
    settings.GCP_KEY_RING = RING
    clients.reset()
    running_emulator.apply(WELL_BEHAVED)
    running_emulator.calls.clear()
    yield running_emulator
    running_emulator.apply(WELL_BEHAVED)
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


AUTHORISER = "keycast-authoriser@test.iam.gserviceaccount.com"
KEEPER = "keycast-keeper@test.iam.gserviceaccount.com"


@pytest.fixture
def two_identities(emulator, settings, tmp_path):
    """Each with the permissions that docs/hsm.md gives it on the key ring, and no more."""
    for name, account in (("GCP_AUTHORISER_CREDENTIALS", AUTHORISER), ("GCP_KEEPER_CREDENTIALS", KEEPER)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"client_email": account}))
        setattr(settings, name, str(path))
    emulator.apply(
        {
            "access": {
                AUTHORISER: {RING: inspection.AUTHORISER_PERMISSIONS},
                KEEPER: {RING: inspection.KEEPER_PERMISSIONS},
            }
        }
    )
    clients.reset()
    return emulator


def misbehave(emulator, kind, *methods, **fields):
    emulator.faults.set([KmsFault(KmsFaultKind(kind), methods, **fields)])
