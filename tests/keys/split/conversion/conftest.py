"""A server that keeps keys both ways, with an emulated Cloud KMS and a co-signer that is a process of its own."""

from __future__ import annotations

import pytest

from keys.hsm import registration
from keys.hsm.google import provider
from keys.hsm.google.backend import GoogleBackend
from keys.lifecycle import modes
from keys.lifecycle.modes import EncryptedBackend
from keys.signing import factory, runtime
from keys.split import maintenance
from tests import leftovers
from tests.keys.conftest import make_tenant, make_user
from tests.keys.cosigner.support import Process
from tests.keys.hsm.google.conftest import emulator as emulator  # noqa: PLC0414 -- a fixture
from tests.keys.hsm.google.conftest import running_emulator as running_emulator  # noqa: PLC0414 -- a fixture
from tests.keys.split.conversion.support import Deployment


class Restarted(Process):
    """Remembers whether it was told to die."""

    def start(self, crash_at=""):
        self.crash_at = crash_at
        super().start(crash_at)
        leftovers.may_stay(self.process.pid)


@pytest.fixture(scope="session")
def running_cosigner(tmp_path_factory):
    process = Restarted(tmp_path_factory.mktemp("cosigner"))
    yield process
    process.stop()


@pytest.fixture
def cosigner(running_cosigner):
    """Up, whatever a test before did to it; keys of other tests are nobody's business."""
    if running_cosigner.crash_at or running_cosigner.process.poll() is not None:
        running_cosigner.stop()
        running_cosigner.start()
    return running_cosigner


@pytest.fixture
def deployment(cosigner, settings, emulator, transactional_db, monkeypatch):
    process = cosigner
    settings.COSIGNER_SOCKET, settings.COSIGNER_ADDRESS = str(process.socket), ""
    settings.HSM_PROVIDERS = ["google"]
    registration.hsm_key_managers.cache_clear()
    monkeypatch.setattr(modes, "_backends", [EncryptedBackend(), GoogleBackend()])
    for enqueue in ("keys.hsm.provisioning._enqueue", "keys.split.conversion.wakeup._enqueue"):
        monkeypatch.setattr(enqueue, lambda key_id: None)
    monkeypatch.setattr(factory, "_signers", {("hsm", "google"): provider.signer})
    maintenance.authoriser_of.cache_clear()
    runtime.signing_service.cache_clear()
    tenant = make_tenant(key_modes=["encrypted", "hsm"], default_key_mode="encrypted")
    yield Deployment(tenant, make_user(tenant), process, emulator)
    runtime.signing_service().forget_all()
    runtime.signing_service.cache_clear()
    registration.hsm_key_managers.cache_clear()
