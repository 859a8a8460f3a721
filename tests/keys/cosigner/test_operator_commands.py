"""``manage.py cosigner stop`` and its kin, beside a co-signer that serves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from keycast.nostr.nip01 import id_of
from keycast.nostr.nip19 import encode_npub
from keys.signing.cosigning.errors import StoppedByCosigner
from tests.keys.cosigner.rows import signer_of
from tests.keys.cosigner.support import FakeHsm, Process, kek_a, make_key, note
from tests.paths import ROOT


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path)
    yield process
    process.stop()


def run(process, *arguments):
    command = [sys.executable, str(ROOT / "manage.py"), "cosigner", *arguments]
    return subprocess.run(command, env=process.environment, capture_output=True, text=True, check=False)


async def test_the_operator_stops_resumes_lists_and_bounds_while_the_co_signer_serves(process, monkeypatch):
    client, hsm = process.client(), FakeHsm()
    key = await make_key(client, hsm)
    signer = signer_of(hsm, client)
    kek = kek_a()
    monkeypatch.setattr(signer._vault, "_providers", lambda _: kek)
    assert run(process, "stop", "--key", str(key.key_id)).returncode == 2, "not without a reason"
    assert run(process, "stop", "--key", str(key.tenant_id), "--reason", "x").returncode == 2
    assert run(process, "stop", "--reason", "of what?").returncode == 2
    done = run(process, "stop", "--key", encode_npub(key.public_key), "--reason", "the phone was stolen")
    assert done.returncode == 0, done.stderr
    with pytest.raises(StoppedByCosigner):
        await signer.sign_event_id(key, note(key), id_of(note(key)))
    (listed,) = map(json.loads, run(process, "list", "--stopped", "--json").stdout.splitlines())
    assert listed["stop"]["reason"] == "the phone was stolen"
    assert run(process, "resume", "--all", "--reason", "x").returncode == 2, "everything was not stopped"
    assert run(process, "resume", "--key", str(key.key_id), "--reason", "found again").returncode == 0
    await signer.sign_event_id(key, note(key), id_of(note(key)))
    assert f"{key.key_id}" in run(process, "list").stdout
    assert "1 signatures" in run(process, "list", "--tenant", str(key.tenant_id)).stdout
    await client.close()


async def test_limits_are_shown_set_and_taken_back(process):
    client = process.client()
    key = await make_key(client, FakeHsm())
    await client.close()
    assert "every-key  signatures: 100000" in run(process, "limits").stdout
    for wrong in (
        ["--every-key", "--kinds", "1"],
        ["--all", "--signatures", "5"],
        ["--every-key", "--signatures", "many"],
    ):
        assert run(process, "limits", *wrong, "--reason", "x").returncode == 2, wrong
    of_key = ["limits", "--key", str(key.key_id), "--reason", "x"]
    shown = run(process, *of_key, "--signatures", "7", "--kinds", "1,7").stdout
    assert f"key:{key.key_id.hex}  signatures: 7" in shown
    assert f"key:{key.key_id.hex}  kinds: 1,7" in shown
    assert f"key:{key.key_id.hex}  signatures" not in run(process, *of_key, "--signatures", "default").stdout


async def test_the_log_is_shown_by_key_and_tag_with_its_chain(process):
    client = process.client()
    one, other = await make_key(client, FakeHsm()), await make_key(client, FakeHsm())
    await client.close()
    shown = run(process, "log", "--key", str(one.key_id), "--tag", "cosigner:half:created", "--verify", "--json")
    (row,) = map(json.loads, shown.stdout.splitlines())
    assert (row["key_id"], row["tag"]) == (one.key_id.hex, "cosigner:half:created")
    assert other.key_id.hex in run(process, "log").stdout
    assert len(run(process, "log", "--last", "2").stdout.splitlines()) == 2
