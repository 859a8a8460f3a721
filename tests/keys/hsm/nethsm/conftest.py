"""An emulated NetHSM in this process, and keys in it."""

from __future__ import annotations

import uuid

import pytest

from keycast.emulators.nethsm.faults import NetHsmFault, NetHsmFaultKind
from keycast.emulators.nethsm.server import NetHsmEmulator
from keycast.emulators.nethsm.store import NetHsmEmulatorStore
from keys.hsm import provisioning, registration
from keys.hsm.nethsm import clients, names
from keys.hsm.nethsm.backend import NetHsmBackend
from keys.hsm.nethsm.keeper import NetHsmKeyManager
from keys.hsm.nethsm.signer import NetHsmSigner
from keys.lifecycle import modes
from keys.refs import HsmRef, KeyRef
from tests.keys.conftest import make_tenant, make_user

ADMIN, ADMIN_PASSWORD, OPERATOR_PASSWORD = "root", "the root's passphrase", "the operators' master"
TENANT = uuid.UUID(int=7)


@pytest.fixture(scope="session")
def running_emulator(tmp_path_factory):
    with NetHsmEmulator(tmp_path_factory.mktemp("nethsm"), admin=ADMIN, passphrase=ADMIN_PASSWORD) as emulator:
        yield emulator


@pytest.fixture
async def close_lane():
    """Connections of the test's event loop end with it."""
    yield
    await clients.close()


@pytest.fixture
def emulator(running_emulator, settings):
    """Fresh in every test: no fault, no user but the R-Administrator."""
    settings.NETHSM_URL, settings.NETHSM_CA_FILE = running_emulator.url, str(running_emulator.ca_file)
    settings.NETHSM_EMULATOR = True
    settings.NETHSM_ADMIN_USER, settings.NETHSM_ADMIN_PASSWORD = ADMIN, ADMIN_PASSWORD
    settings.NETHSM_OPERATOR_USER, settings.NETHSM_OPERATOR_PASSWORD = "signer", OPERATOR_PASSWORD
    settings.NETHSM_NAMESPACE_PASSWORD = ""
    clients.reset()
    app = running_emulator.app
    app.__init__(NetHsmEmulatorStore(ADMIN, ADMIN_PASSWORD))
    yield running_emulator
    app.faults.set()
    clients.reset()


@pytest.fixture
def keeper(emulator):
    return NetHsmKeyManager()


@pytest.fixture
def signer(emulator, close_lane):
    return NetHsmSigner()


@pytest.fixture
def device_key(keeper, emulator):
    """A reference to a key in the device, as a row would give it."""
    key_id = uuid.uuid4()
    name = names.key_name(TENANT, key_id)
    keeper.create(name)
    public_key = keeper.check(name).public_key
    emulator.app.calls.clear()
    return KeyRef(TENANT, key_id, public_key[1:].hex(), "hsm", "nethsm", hsm=HsmRef(name, name))


@pytest.fixture
def world(db, settings, emulator, keeper, monkeypatch):
    """A tenant that offers keys in the device."""
    settings.HSM_PROVIDERS = ["nethsm"]
    monkeypatch.setattr(registration, "hsm_key_managers", lambda: {"nethsm": keeper})
    monkeypatch.setattr(modes, "_backends", [*modes._backends, NetHsmBackend()])
    monkeypatch.setattr(provisioning, "_PAUSES", (0.05,))
    return make_tenant(key_modes=["encrypted", "hsm"])


@pytest.fixture
def owner(world):
    return make_user(world)


def misbehave(emulator, kind, *operations, **fields):
    emulator.app.faults.set(NetHsmFault(NetHsmFaultKind(kind), operations, **fields))
