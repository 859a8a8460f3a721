"""Our stand-in for OpenBao, and, where KEYCAST_TEST_BAO names one, the genuine server, in memory."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from uuid import uuid4

import httpx
import pytest

from keycast.emulators.openbao.server import OpenBaoEmulator
from keys.hsm.openbao import clients, names
from keys.hsm.openbao.authoriser import OpenBaoAuthoriser
from keys.hsm.openbao.keeper import OpenBaoKeyManager
from keys.refs import HsmRef
from tests.waiting import until

BAO = os.environ.get("KEYCAST_TEST_BAO", "")
TOKEN = "a token for tests"


@pytest.fixture(scope="session")
def running_emulator(tmp_path_factory):
    with OpenBaoEmulator(tmp_path_factory.mktemp("openbao"), token=TOKEN) as emulator:
        yield emulator


def free_port():
    """A port with the next one free, which the server takes for its cluster; each test process has its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def genuine(tmp_path_factory):
    """Address and certificate of ``bao server -dev``, with its transit engine."""
    if not BAO:
        pytest.skip("KEYCAST_TEST_BAO names no binary of OpenBao")
    folder, port = tmp_path_factory.mktemp("bao"), free_port()
    words = [BAO, "server", "-dev-tls", f"-dev-tls-cert-dir={folder}", f"-dev-root-token-id={TOKEN}"]
    words += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)})
    try:
        authority = folder / "vault-ca.pem"
        until(authority.exists)
        url, trusted = f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=authority)
        client = httpx.Client(verify=trusted, trust_env=False, headers={"X-Vault-Token": TOKEN})

        def is_there():
            try:
                return client.get(f"{url}/v1/sys/health").status_code == 200
            except httpx.HTTPError:
                return False

        until(is_there, pause=0.2)
        assert client.post(f"{url}/v1/sys/mounts/transit", json={"type": "transit"}).status_code == 204
        yield url, authority
    finally:
        process.terminate()
        process.wait(20)


def named(settings, url, authority):
    settings.OPENBAO_URL, settings.OPENBAO_CA_FILE, settings.OPENBAO_MOUNT = url, str(authority), "transit"
    settings.OPENBAO_TOKEN, settings.OPENBAO_TOKEN_FILE, settings.OPENBAO_MANAGER_TOKEN_FILE = TOKEN, "", ""
    settings.OPENBAO_CAN_DISABLE = True
    clients.reset()


@pytest.fixture
def emulator(running_emulator, settings):
    named(settings, running_emulator.url, running_emulator.ca_file)
    app = running_emulator.app
    app.keys.clear()
    app.keks.clear()
    app.knows_associated_data = True
    app.calls.clear()
    yield app
    app.before, app.after, app.token = (lambda call: None), (lambda call, data: data), TOKEN
    clients.reset()


@pytest.fixture(params=["stand-in", "genuine"])
def server(request, settings):
    """One of the two: what is said of both is tested on both."""
    if request.param == "stand-in":
        request.getfixturevalue("emulator")
    else:
        named(settings, *request.getfixturevalue("genuine"))
    yield request.param
    clients.reset()


@pytest.fixture
def keeper():
    return OpenBaoKeyManager()


@pytest.fixture
def authoriser():
    return OpenBaoAuthoriser()


def make_hsm_key(keeper, tenant_id=None):
    name = keeper.create(names.new(tenant_id or uuid4())).name
    status = keeper.check(name)
    return HsmRef(name, status.version, status.public_key.hex())
