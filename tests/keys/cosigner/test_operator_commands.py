"""``manage.py cosigner stop`` and its kin, beside a co-signer that serves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from keycast.nostr.nip01 import UnsignedEvent, id_of
from keycast.nostr.nip19 import encode_npub
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerBudgetReached, KindNotAllowedByCosigner, StoppedByCosigner
from tests.keys.cosigner.rows import signer_of
from tests.keys.cosigner.support import FakeHsm, Process, grant, kek_a, make_key, note
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
        ["--every-key", "--asked", "required"],
        ["--all", "--asked", "sometimes"],
        ["--all", "--apps", ""],
    ):
        assert run(process, "limits", *wrong, "--reason", "x").returncode == 2, wrong
    of_key = ["limits", "--key", str(key.key_id), "--reason", "x"]
    shown = run(process, *of_key, "--signatures", "7", "--kinds", "1,7").stdout
    assert f"key:{key.key_id.hex}  signatures: 7" in shown
    assert f"key:{key.key_id.hex}  kinds: 1,7" in shown
    shown = run(process, *of_key, "--asked", "required", "--apps", "closed").stdout
    assert f"key:{key.key_id.hex}  asked: required" in shown
    assert f"key:{key.key_id.hex}  apps: closed" in shown
    assert "all  asked: where-available" in shown
    assert f"key:{key.key_id.hex}  asked" not in run(process, *of_key, "--asked", "default").stdout
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


async def test_what_waits_to_be_forgotten_is_listed_and_kept_by_the_operator(process):
    client, hsm = process.client(), FakeHsm()
    key = await make_key(client, hsm)
    subject = bytes.fromhex(key.public_key)
    assert "No key waits" in run(process, "forgotten").stdout
    permit = grant(hsm, key, AuthorisationPurpose.FORGET, subject, challenge=await client.challenge())
    await client.forget(key.tenant_id, key.key_id, subject, permit)
    (waiting,) = map(json.loads, run(process, "forgotten", "--json").stdout.splitlines())
    assert waiting["key"] == str(key.key_id)
    named = ["--key", str(key.key_id), "--reason", "nobody asked for it"]
    assert run(process, "forgotten", "--cancel", "--reason", "x").returncode == 2, "which key?"
    assert run(process, "forgotten", "--cancel", "--key", str(key.key_id)).returncode == 2, "and why?"
    assert run(process, "forgotten", "--destroy", *named).returncode == 2, "not while it serves"
    assert run(process, "forgotten", "--cancel", *named).returncode == 0
    assert run(process, "forgotten", "--cancel", *named).returncode == 2, "it does not wait any more"
    assert "No key waits" in run(process, "forgotten").stdout
    (row,) = map(
        json.loads,
        run(process, "log", "--tag", "cosigner:key:forget-cancelled", "--json", "--verify").stdout.splitlines(),
    )
    assert (row["peer"].split(":")[0], row["data"]["reason"]) == ("operator", "nobody asked for it")
    await client.close()
    process.stop()
    assert run(process, "forgotten", "--destroy", *named).returncode == 0
    assert "cosigner:operator:destroyed" in run(process, "log", "--last", "1").stdout


async def test_a_signer_a_that_was_taken_over_gets_nothing_beyond_the_settings_of_the_process(tmp_path, monkeypatch):
    process = Process(tmp_path, KEYCAST_COSIGNER_KEY_SIGNATURES="2", KEYCAST_COSIGNER_KINDS="1,7")
    client, hsm = process.client(), FakeHsm()
    try:
        key = await make_key(client, hsm)
        signer = signer_of(hsm, client)
        kek = kek_a()
        monkeypatch.setattr(signer._vault, "_providers", lambda _: kek)
        other_kind = UnsignedEvent(key.public_key, 1_700_000_000, 4, [], "")
        with pytest.raises(KindNotAllowedByCosigner):
            await signer.sign_event_id(key, other_kind, id_of(other_kind))
        for content in "ab":
            await signer.sign_event_id(key, note(key, content), id_of(note(key, content)))
        with pytest.raises(CosignerBudgetReached):
            await signer.sign_event_id(key, note(key, "c"), id_of(note(key, "c")))
        assert run(process, "stop", "--all", "--reason", "taken over").returncode == 0
        subject = bytes.fromhex(key.public_key)
        with pytest.raises(StoppedByCosigner):
            permit = grant(hsm, key, AuthorisationPurpose.ENABLE, subject, challenge=await client.challenge())
            await client.enable(key.tenant_id, key.key_id, permit)
        tags = [json.loads(line)["tag"] for line in run(process, "log", "--json", "--verify").stdout.splitlines()]
        assert tags.count("cosigner:request:refused") == 2
        assert tags.count("cosigner:budget:reached") == 1
        assert tags.count("cosigner:event:signed") == 2
    finally:
        await client.close()
        process.stop()
