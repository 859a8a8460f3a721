"""Our own client program against our own server, judged by nostr-tools where it is there."""

from __future__ import annotations

import json
import subprocess

import pytest

from keycast.nostr.nip01 import parse_event, verify_event
from tests.e2e.conftest import CLIENTS
from tests.e2e.live import LiveServer

pytestmark = pytest.mark.timeout(180)


def test_a_note_is_signed_and_verifies(keycast_server: LiveServer):
    url = keycast_server.bunker_url()
    event = parse_event(keycast_server.manage("nip46", "sign", "--bunker", url, "--content", "hello").strip())
    assert verify_event(event)


@pytest.mark.needs_node
def test_nostr_tools_accepts_what_our_client_got_signed(keycast_server: LiveServer):
    url = keycast_server.bunker_url()
    printed = keycast_server.manage("nip46", "sign", "--bunker", url, "--content", "é 🫂\n", "--tag", "t", "x")
    done = subprocess.run(
        ["node", "verify.mjs"], cwd=CLIENTS, input=f"[{printed}]", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == 1


def test_a_pairing_lasts_as_long_as_the_client_keeps_its_key(keycast_server: LiveServer, tmp_path):
    arguments = ("--bunker", keycast_server.bunker_url(), "--client-key-file", str(tmp_path / "client"), "--json")
    first = json.loads(keycast_server.manage("nip46", "whoami", *arguments))
    again = json.loads(keycast_server.manage("nip46", "whoami", *arguments))
    assert first == again
    assert first["npub"] == keycast_server.npub


def test_bench_reports_what_it_verified(keycast_server: LiveServer):
    url = keycast_server.bunker_url()
    figures = json.loads(
        keycast_server.manage("nip46", "bench", "--bunker", url, "--clients", "3", "--duration", "1", "--json")
    )
    assert figures["signed"] > 10
    assert figures["refused"] == 0
