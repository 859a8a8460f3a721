"""A key in an (emulated) NetHSM, as apps use it: notes verify, encrypted messages are refused in plain words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.emulators.nethsm.server import NetHsmEmulator
from keycast.nostr import nip19
from keycast.nostr.nip01 import parse_event, verify_event
from tests.e2e.conftest import CLIENTS
from tests.e2e.live import ROOT, LiveServer, live, offer_both_modes

pytestmark = pytest.mark.timeout(240)
ADMIN, ADMIN_PASSWORD, OPERATOR_PASSWORD = "root", "the root's passphrase", "the operators' master"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with NetHsmEmulator(tmp_path_factory.mktemp("nethsm"), admin=ADMIN, passphrase=ADMIN_PASSWORD) as device:
        settings = {
            "KEYCAST_HSM_PROVIDERS": "nethsm",
            "KEYCAST_NETHSM_EMULATOR": "1",
            "KEYCAST_NETHSM_URL": device.url,
            "KEYCAST_NETHSM_CA_FILE": str(device.ca_file),
            "KEYCAST_NETHSM_ADMIN_USER": ADMIN,
            "KEYCAST_NETHSM_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "KEYCAST_NETHSM_OPERATOR_PASSWORD": OPERATOR_PASSWORD,
        }
        with live(settings) as server:
            offer_both_modes(server)
            yield server


@pytest.mark.needs_node
def test_a_note_signed_in_the_device_is_valid_to_nostr_tools(server: LiveServer):
    npub, public_key = server.create_key("In the device", "hsm")
    printed = server.manage("nip46", "sign", "--bunker", server.bunker_url(key=npub), "--content", "hello")
    event = parse_event(printed.strip())
    assert verify_event(event)
    assert event.pubkey == public_key == nip19.public_key_of(npub)
    done = subprocess.run(
        ["node", "verify.mjs"], cwd=CLIENTS, input=f"[{printed}]", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == 1


def test_encrypting_is_refused_in_plain_words(server: LiveServer):
    npub, _ = server.create_key("Cannot encrypt", "hsm")
    peer, _ = Keypair.generate()
    words = ("encrypt", "--bunker", server.bunker_url(key=npub), "--peer", peer.public_key_hex, "--text", "x")
    done = subprocess.run(
        [sys.executable, "manage.py", "nip46", *words],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot encrypt or decrypt" in done.stderr
