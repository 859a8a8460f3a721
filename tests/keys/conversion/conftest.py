"""A server that keeps keys both ways, with an emulated Cloud KMS and a co-signer that is a process of its own."""

from __future__ import annotations

import pytest

from keys import modes, runtime
from keys.cosigning import upkeep
from keys.hsm import setup
from keys.hsm.google.backend import GoogleBackend
from keys.modes import EncryptedBackend
from keys.signing import factory
from tests.keys.conftest import make_tenant, make_user
from tests.keys.conversion.support import Deployment
from tests.keys.cosigning.support import Process
from tests.keys.hsm.google.conftest import emulator as emulator  # noqa: PLC0414 -- a fixture
from tests.keys.hsm.google.conftest import running_emulator as running_emulator  # noqa: PLC0414 -- a fixture


@pytest.fixture
def deployment(tmp_path, settings, emulator, transactional_db, monkeypatch):
    process = Process(tmp_path)
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(process.socket), ""
    settings.HSM_PROVIDERS = ["google"]
    setup.keepers.cache_clear()
    monkeypatch.setattr(modes, "_backends", [EncryptedBackend(), GoogleBackend()])
    for enqueue in ("keys.hsm.pending._enqueue", "keys.conversion.nudging._enqueue"):
        monkeypatch.setattr(enqueue, lambda key_id: None)
    monkeypatch.setattr(factory, "_signers", {("hsm", "google"): setup._google_signer})
    upkeep.authoriser_of.cache_clear()
    runtime.signing_service.cache_clear()
    tenant = make_tenant(key_modes=["encrypted", "hsm"], default_key_mode="encrypted")
    yield Deployment(tenant, make_user(tenant), process, emulator)
    runtime.signing_service().forget_all()
    runtime.signing_service.cache_clear()
    setup.keepers.cache_clear()
    process.stop()
