"""Keys that an HSM authorises, as apps use them: emulated Cloud KMS, co-signer, jobs, relay and worker, all genuine."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip19, nip44
from keycast.nostr.nip01 import parse_event, verify_event
from keys.cosigner import operator_commands
from keys.cosigner.brake_rules import key_scope
from tests.e2e.conftest import CLIENTS
from tests.e2e.live import LiveServer, live
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)
IMPORT = (
    "from accounts.models import Tenant, User; from keycast.audit.entries import Actor;"
    "from keys.services import import_key, parse_secret_input; actor = Actor.command('test');"
    "key = import_key(actor=actor, tenant=Tenant.objects.get(), user=User.objects.get(email={email!r}),"
    " name='Imported', secret=parse_secret_input({nsec!r}), key_mode='hsm');"
    "print(key.public_key)"
)
FIND = "from keys.models import PersonalKey; key = PersonalKey.objects.get(public_key={public_key!r});"
VERB = FIND + "from keycast.audit.entries import Actor; from keys import services;"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live(hsm=True) as server:
        yield server


def active(server: LiveServer, public_key: str) -> str:
    """The npub of a key, once the job has made it active."""
    state = f"PersonalKey.objects.get(public_key={public_key!r}).state"
    assert server.until("from keys.models import PersonalKey", state, "found == 'active'") == "active"
    return nip19.encode_npub(public_key)


def cosigner_state(server: LiveServer, key_id: str) -> str:
    """What the co-signer's own database says of a key; empty when it has forgotten it."""
    with closing(sqlite3.connect(f"file:{server.folder / 'cosigner.sqlite3'}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT state FROM cosigner_key WHERE key_id = ?", (bytes.fromhex(key_id),)).fetchone()
    return row[0] if row else ""


def cosigner_rows(server: LiveServer, key_id: str) -> list[tuple[str, dict[str, object]]]:
    """Tags and data of the co-signer's log of a key, oldest first."""
    with closing(sqlite3.connect(f"file:{server.folder / 'cosigner.sqlite3'}?mode=ro", uri=True)) as connection:
        select = "SELECT tag, data FROM audit_auditrow WHERE key_id = ? ORDER BY sequence"
        return [(tag, json.loads(data)) for tag, data in connection.execute(select, (key_id,))]


def test_a_key_is_made_by_the_job_and_signs_and_converses(server: LiveServer, tmp_path):
    _, public_key = server.create_key("Split", "hsm")
    url = server.bunker_url(key=active(server, public_key))
    session = ("--bunker", url, "--client-key-file", str(tmp_path / "client"))
    event = parse_event(server.manage("nip46", "sign", *session, "--content", "hello").strip())
    assert verify_event(event)
    assert event.pubkey == public_key

    peer, _ = Keypair.generate()
    joint = nip44.conversation_key(peer, bytes.fromhex(public_key))
    payload = server.manage("nip46", "encrypt", *session, "--peer", peer.public_key_hex, "--text", "there").strip()
    assert nip44.decrypt(payload, joint) == "there"
    answer = nip44.encrypt("back", joint)
    back = server.manage("nip46", "decrypt", *session, "--peer", peer.public_key_hex, "--text", answer)
    assert back.strip() == "back"


def test_the_co_signer_sees_that_an_app_asked_and_can_demand_it(server: LiveServer, tmp_path):
    _, public_key = server.create_key("Asked for", "hsm")
    url = server.bunker_url(key=active(server, public_key))
    key_id = server.python(FIND.format(public_key=public_key) + "print(key.id.hex)")
    demand = {"asked": "required"}
    operator_commands.limit(server.folder / "cosigner.sqlite3", key_scope(UUID(hex=key_id)), demand, "test")
    session = ("--bunker", url, "--client-key-file", str(tmp_path / "client"))
    assert verify_event(parse_event(server.manage("nip46", "sign", *session, "--content", "asked for").strip()))
    peer, _ = Keypair.generate()
    server.manage("nip46", "encrypt", *session, "--peer", peer.public_key_hex, "--text", "there")
    app = server.python(
        "from bunker.models import Connection;"
        f"print(Connection.objects.get(key__public_key={public_key!r}).client_public_key)"
    )
    rows = cosigner_rows(server, key_id)
    assert [(tag, data.get("app")) for tag, data in rows[-3:]] == [
        ("cosigner:app:admitted", app),
        ("cosigner:event:signed", app),
        ("cosigner:ecdh:contributed", app),
    ]


def test_an_imported_key_stays_the_same_identity(server: LiveServer):
    whole, secret = Keypair.generate()
    nsec = nip19.encode_nsec(secret)
    public_key = server.python(IMPORT.format(email=server.user["email"], nsec=nsec))
    assert public_key == whole.public_key_hex
    url = server.bunker_url(key=active(server, public_key))
    event = parse_event(server.manage("nip46", "sign", "--bunker", url, "--content", "still me").strip())
    assert verify_event(event)
    assert event.pubkey == whole.public_key_hex
    folder = server.folder
    files = [path for path in folder.iterdir() if path.is_file() and "sqlite3" in path.name]
    assert len(files) >= 2
    assert not any(bytes(secret.view()) in path.read_bytes() for path in files)


def test_the_co_signer_hears_of_every_stop(server: LiveServer):
    _, public_key = server.create_key("To be stopped", "hsm")
    active(server, public_key)
    verb = VERB.format(public_key=public_key)
    key_id = server.python(FIND.format(public_key=public_key) + "print(key.id.hex)")

    def theirs() -> str:
        return cosigner_state(server, key_id)

    until(lambda: theirs() == "active")
    server.python(verb + "services.lock_key(actor=Actor.command('test'), key=key)")
    until(lambda: theirs() == "locked")
    server.python(verb + "services.unlock_key(actor=Actor.command('test'), key=key)")
    until(lambda: theirs() == "active")
    server.python(verb + "services.disable_key(actor=Actor.command('test'), key=key)")
    until(lambda: theirs() == "disabled")
    server.python(verb + "services.schedule_destruction(actor=Actor.command('test'), key=key)")
    server.python(
        "from datetime import timedelta; from django.utils import timezone; from keys import services;"
        "services.destroy_due_keys(now=timezone.now() + timedelta(days=60))"
    )
    until(lambda: theirs() == "forgetting")


@pytest.mark.needs_node
@pytest.mark.parametrize("mode", ["encrypted", "hsm"])
@pytest.mark.compliance(spec="NIP-46", section="Overview", requirement="existing clients work unchanged")
def test_nostr_tools_uses_every_method_with_a_key_of_either_mode(server: LiveServer, mode: str):
    _, public_key = server.create_key(f"nostr-tools, {mode}", mode)
    npub = active(server, public_key)
    given = {
        "full": server.bunker_url(key=npub),
        "social": server.bunker_url(key=npub, policy="social"),
        "pubkey": public_key,
        "relay": server.relay_url,
        "large": True,
    }
    done = subprocess.run(
        ["node", "nostr-tools.mjs"],
        cwd=CLIENTS,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    assert not failed, json.dumps(failed, indent=1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert steps[-1]["step"] == "nothing is signed after logout"
