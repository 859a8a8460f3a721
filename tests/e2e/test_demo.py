"""``make demo ONCE=1``, twice and beside another: it works from nothing, ends with 0, and keeps its data."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keycast.nostr import nip19
from keycast.nostr.nip01 import parse_event, verify_event
from keycast.nostr.uris import BunkerUri
from tests.paths import ROOT

pytestmark = pytest.mark.timeout(180)


WANTED = 18_400
"""The port that both demos below ask for."""


def started(folder: Path, *, once: bool = True) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCAST", "DJANGO"))}
    return subprocess.Popen(
        [
            sys.executable,
            "manage.py",
            "demo",
            *(["--once"] if once else []),
            "--folder",
            str(folder),
            "--port",
            str(WANTED),
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(demo: subprocess.Popen[str], folder: Path) -> tuple[str, str, dict]:
    """What it printed, what it complained about, and demo.json."""
    printed, errors = demo.communicate()
    assert demo.returncode == 0, errors[-2000:] + printed[-2000:]
    return printed, errors, json.loads((folder / "demo.json").read_text())


def test_the_demo_signs_a_note_beside_another_and_a_second_start_keeps_the_data(tmp_path):
    folder = tmp_path / "var"
    beside = started(tmp_path / "other")
    printed, complaints, first = ended(started(folder), folder)
    also_printed, _, other = ended(beside, tmp_path / "other")
    assert first["portal_url"] != other["portal_url"]
    assert f"Port {WANTED} is taken" in printed + also_printed
    events = [parse_event(line) for line in printed.splitlines() if line.startswith('{"id"')]
    key, hsm = first["keys"]
    assert all(verify_event(event) for event in events)
    assert [nip19.encode_npub(event.pubkey) for event in events] == [key["npub"], hsm["npub"]]
    assert set(first) >= {"portal_url", "admin_url", "relay_url", "users", "keys"}
    assert set(key) == {"npub", "mode", "provider", "bunker_urls"}
    assert len({BunkerUri.parse(url).secret for url in key["bunker_urls"]}) == 3
    assert all(first["relay_url"] in BunkerUri.parse(url).relays for url in key["bunker_urls"])
    assert (hsm["mode"], hsm["provider"], hsm["emulated"]) == ("hsm", "google", True)
    assert len({BunkerUri.parse(url).secret for url in hsm["bunker_urls"]}) == 3
    assert "EMULATED" in printed
    assert (folder / "demo.json").stat().st_mode & 0o777 == 0o600
    assert first["users"][0]["password"] in printed
    assert f"--bunker \\\n     '{key['bunker_urls'][1]}'" in printed
    assert not re.search(r"(?i)error|warning|traceback|failed|not done|exception", printed + complaints), (
        printed + complaints
    )

    *_, second = ended(started(folder), folder)
    assert [shown["npub"] for shown in second["keys"]] == [key["npub"], hsm["npub"]]
    assert second["users"] == first["users"]
    assert not set(second["keys"][0]["bunker_urls"]) & set(key["bunker_urls"])


def processes_of(folder: Path) -> set[int]:
    """Who has the demo's folder in its environment: the demo's children, and theirs."""
    mark, found = f"KEYCAST_DATA_DIR={folder}".encode(), set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or is another account's
            if mark in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parent.name))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl and /proc are Linux's")
def test_nothing_outlives_a_demo_that_is_killed(tmp_path):
    folder = tmp_path / "var"
    with started(folder, once=False) as demo:
        for line in demo.stdout:
            if line.startswith("Running"):
                break
        assert processes_of(folder)
        demo.kill()
        demo.wait()
        while processes_of(folder):  # the timeout above ends this
            time.sleep(0.1)
        demo.communicate()
