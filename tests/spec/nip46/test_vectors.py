"""NIP-46 on the wire: a whole conversation, hostile requests, and URIs, as far as parsing goes."""

from __future__ import annotations

import json

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip01 import EventError, parse_event, parse_template, single_tag_value, verify_event
from keycast.nostr.nip44 import Nip44Error, conversation_key, decrypt, encrypt
from keycast.nostr.nip46 import KIND, METHODS, Nip46Response, RequestError, parse_request, parse_response
from keycast.nostr.uris import MAX_RELAY_URL, NostrConnectUri, UriError, normalize_relay_url
from tests.vectors import load_or_skip, rows

FLOW = "nip46_flow.json"
HOSTILE = "nip46_hostile.json"
URIS = "uris_and_relay_urls.json"
SPEC = "NIP-46"
SYNTAX = {
    *("scheme", "userinfo", "userinfo confusion", "backslash confusion", "CRLF", "leading space", "no host", "port 0"),
    *("too long", "short IPv4", "decimal IPv4", "hex IPv4", "octal IPv4", "trailing dot", "link local zone"),
}
MALFORMED = {
    *("rpc: not json", "rpc: json number", "rpc: json array batch", "rpc: empty object", "rpc: id number"),
    *(
        "rpc: id null",
        "rpc: id object",
        "rpc: id 100k chars",
        "rpc: method number",
        "rpc: params null",
        "rpc: params object",
    ),
    *("rpc: params non-string", "rpc: duplicate method key", "rpc: deep nesting 20000 in params"),
    *("sign: kind 65537", "sign: kind -1", "sign: kind string", "sign: kind true", "sign: tag non-string"),
    *("sign: tag not array", "sign: tags missing", "sign: 20k tags", "sign: content number", "sign: lone surrogate"),
    *("sign: created_at float", "sign: duplicate keys"),
}


def malformed(file):
    return [row for row in file["cases"] if row["name"] in MALFORMED]


def name(row):
    return row["name"]


def keypair(file, who):
    return Keypair.from_secret(SecretBytes(bytes.fromhex(load_or_skip(file)["secrets"][who])))


@pytest.mark.compliance(spec=SPEC, section="Request Events", requirement="each request of the conversation is read")
@pytest.mark.parametrize("row", rows(FLOW, lambda file: file["flow"], name))
def test_a_request_of_the_conversation_is_read(row):
    signer, client = keypair(FLOW, "signer"), keypair(FLOW, "client")
    event = parse_event(json.dumps(row["request_event"]))
    assert verify_event(event)
    assert (event.kind, event.pubkey) == (KIND, client.public_key_hex)
    assert single_tag_value(event, "p") == signer.public_key_hex
    text = decrypt(event.content, conversation_key(signer, client.public_key))
    assert text == row["request_plaintext"]
    request = parse_request(text)
    assert {"id": request.id, "method": request.method, "params": request.params} == json.loads(text)
    assert request.method in METHODS
    if request.method == "sign_event":
        parse_template(request.params[0])


@pytest.mark.compliance(spec=SPEC, section="Response Events", requirement="each response is written as expected")
@pytest.mark.parametrize("row", rows(FLOW, lambda file: file["flow"], name))
def test_a_response_of_the_conversation_is_written(row):
    expected = row["expected_response"]
    response = Nip46Response.ok(expected["id"], expected["result"] or "anything")
    signer, client = keypair(FLOW, "signer"), keypair(FLOW, "client")
    payload = encrypt(response.to_text(), conversation_key(signer, client.public_key))
    text = decrypt(payload, conversation_key(client, signer.public_key))
    assert parse_response(text) == response
    if expected["result"]:
        assert json.loads(text) == expected


def outcome(row):
    """How far a hostile request gets through parsing alone: ``drop``, ``error`` or ``ok``."""
    signer = keypair(HOSTILE, "signer")
    try:
        event = parse_event(json.dumps(row["event"], ensure_ascii=False, separators=(",", ":")))
        if not verify_event(event):
            return "drop"
        text = decrypt(event.content, conversation_key(signer, bytes.fromhex(event.pubkey)))
    except (EventError, Nip44Error):
        return "drop"
    try:
        request = parse_request(text)
        if request.method == "sign_event":
            parse_template(request.params[0])
    except RequestError as error:
        return "drop" if error.request_id is None else "error"
    except EventError:
        return "error"
    return "ok"


@pytest.mark.compliance(spec=SPEC, section="Request Events", requirement="hostile requests are contained by parsing")
@pytest.mark.parametrize("row", rows(HOSTILE, lambda file: file["cases"], name))
def test_a_hostile_request_is_contained(row):
    """Parsing may let through what a later check refuses; it must never refuse what is to be answered with ok."""
    allowed = {"ok": {"ok"}, "drop": {"drop", "ok"}}.get(row["expect"], {"ok", "error", "drop"})
    assert outcome(row) in allowed


@pytest.mark.compliance(spec=SPEC, section="Request Events", requirement="malformed requests and templates are refused")
@pytest.mark.parametrize("row", rows(HOSTILE, malformed, name))
def test_what_is_malformed_is_refused_by_parsing_itself(row):
    assert outcome(row) in {"drop", "error"}


@pytest.mark.compliance(spec=SPEC, section="nostrconnect://", requirement="URIs are accepted or refused as listed")
@pytest.mark.parametrize("row", rows(URIS, lambda file: file["nostrconnect"], lambda row: row["why"]))
def test_a_nostrconnect_uri_has_its_verdict(row):
    if row["expect"] == "accept":
        assert NostrConnectUri.parse(row["uri"]).relays
        return
    assert row["expect"].startswith("reject")
    with pytest.raises(UriError):
        NostrConnectUri.parse(row["uri"])


@pytest.mark.compliance(spec=SPEC, section="Relays", requirement="relay URLs are well-formed or refused, in one form")
@pytest.mark.parametrize("row", rows(URIS, lambda file: file["relay_urls"], lambda row: row["why"]))
def test_a_relay_url_that_is_no_url_is_refused(row):
    """Which of the well-formed ones may be connected to is decided on their addresses, elsewhere."""
    try:
        normal = normalize_relay_url(row["url"])
    except UriError:
        assert row["expect"] != "allow"
        return
    assert row["why"] not in SYNTAX
    assert len(normal) <= MAX_RELAY_URL
    assert normalize_relay_url(normal) == normal
