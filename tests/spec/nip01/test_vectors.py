"""NIP-01: ids, serialisation and signatures, and events that a strict reader refuses."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip01 import (
    EventError,
    UnsignedEvent,
    event_id,
    parse_event,
    parse_template,
    serialize,
    verify_event,
)
from tests.vectors import load_or_skip, rows

FILE = "nip01_events.json"
SPEC = "NIP-01"


def name(row):
    return row["name"]


def text_of(row):
    return row["event_json"] if "event_json" in row else json.dumps(row["event"], ensure_ascii=False)


@pytest.mark.compliance(spec=SPEC, section="Events and signatures", requirement="an invalid event is refused")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["invalid"], name))
def test_an_invalid_event_is_refused(row):
    try:
        event = parse_event(text_of(row))
    except EventError:
        return
    assert not verify_event(event)


@pytest.mark.compliance(spec=SPEC, section="Events and signatures", requirement="id of the canonical serialisation")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["valid"], name))
def test_the_id_is_the_hash_of_the_serialisation(row):
    event = row["event"]
    computed = event_id(event["pubkey"], event["created_at"], event["kind"], event["tags"], event["content"])
    assert computed == event["id"]
    if row.get("serialized_sha256_is_id"):
        assert sha256(row["serialized"].encode()).hexdigest() == computed


@pytest.mark.compliance(spec=SPEC, section="Events and signatures", requirement="a valid event verifies")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["valid"], name))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_valid_event_verifies_however_its_json_is_escaped(row, ascii_only):
    event = parse_event(json.dumps(row["event"], ensure_ascii=ascii_only))
    assert verify_event(event)
    assert json.loads(serialize(event)) == row["event"]
    assert parse_event(serialize(event)) == event


@pytest.mark.compliance(spec=SPEC, section="Events and signatures", requirement="what we sign verifies")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["valid"], name))
def test_we_sign_it_ourselves_and_it_verifies(row):
    keypair = Keypair.from_secret(SecretBytes(bytes.fromhex(load_or_skip(FILE)["secret_key_user"])))
    parts = {key: row["event"][key] for key in ("kind", "content", "tags", "created_at")}
    unsigned = parse_template(json.dumps(parts)).by(keypair.public_key_hex)
    assert isinstance(unsigned, UnsignedEvent)
    event = unsigned.signed(row["event"]["id"], keypair.sign(bytes.fromhex(row["event"]["id"])))
    assert verify_event(parse_event(serialize(event)))
    assert (event.pubkey, event.id) == (row["event"]["pubkey"], row["event"]["id"])
