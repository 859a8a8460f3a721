"""NIP-44's published vectors, and our own extra ones.

``invalid.encrypt_msg_lengths`` of the published file predates the extended length prefix: of its rows only an empty
plaintext is still invalid, and so is whatever exceeds our own cap.
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from keycast.crypto.errors import CryptoError
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44
from keycast.nostr.nip44 import MAX_PLAINTEXT, Nip44Error, conversation_key, decrypt, encrypt, padded_length
from tests.vectors import load_or_skip, rows

FILE = "nip44.vectors.json"
EXTRA = "nip44_extra.json"
SPEC = "NIP-44"


def key(text):
    return SecretBytes(bytes.fromhex(text))


def pick(group, name):
    return lambda file: file["v2"][group][name]


def note(row):
    return row.get("note", row.get("name", ""))


def public_key(secret):
    return Keypair.from_secret(key(secret)).public_key


@pytest.mark.compliance(spec=SPEC, section="Decryption", requirement="invalid payloads are refused")
@pytest.mark.parametrize("row", rows(FILE, pick("invalid", "decrypt"), note))
def test_an_invalid_payload_is_refused(row):
    with pytest.raises(Nip44Error) as refusal:
        decrypt(row["payload"], key(row["conversation_key"]))
    assert str(refusal.value) == "invalid NIP-44 payload"


@pytest.mark.compliance(spec=SPEC, section="Decryption", requirement="negative cases, many with a valid MAC")
@pytest.mark.parametrize("row", rows(EXTRA, lambda file: file["cases"], note))
def test_every_extra_invalid_payload_is_refused(row):
    conversation = key(load_or_skip(EXTRA)["conversation_key"])
    assert row["expect"] == "reject", "a corpus with other outcomes needs a test for them"
    with pytest.raises(Nip44Error) as refusal:
        decrypt(row["payload"], conversation)
    assert str(refusal.value) == "invalid NIP-44 payload"


@pytest.mark.compliance(spec=SPEC, section="Encryption 1", requirement="keys off the curve or out of range are refused")
@pytest.mark.parametrize("row", rows(FILE, pick("invalid", "get_conversation_key"), note))
def test_an_invalid_key_gives_no_conversation(row):
    with pytest.raises(CryptoError):
        conversation_key(key(row["sec1"]), bytes.fromhex(row["pub2"]))


@pytest.mark.compliance(spec=SPEC, section="Encryption 3", requirement="plaintext of 1 byte to our cap")
@pytest.mark.parametrize("size", [*rows(FILE, pick("invalid", "encrypt_msg_lengths"), str), MAX_PLAINTEXT + 1])
def test_a_length_is_refused_when_it_is_zero_or_above_the_cap(size):
    plaintext = "a" * size
    if 0 < size <= MAX_PLAINTEXT:
        assert decrypt(encrypt(plaintext, key("01" * 32)), key("01" * 32)) == plaintext
        return
    with pytest.raises(Nip44Error):
        encrypt(plaintext, key("01" * 32))


@pytest.mark.compliance(spec=SPEC, section="Encryption 1", requirement="conversation key")
@pytest.mark.parametrize("row", rows(FILE, pick("valid", "get_conversation_key"), note))
def test_the_conversation_key_is_derived(row):
    expected = key(row["conversation_key"])
    peer = bytes.fromhex(row["pub2"])
    assert conversation_key(key(row["sec1"]), peer) == expected
    assert conversation_key(Keypair.from_secret(key(row["sec1"])), peer) == expected


@pytest.mark.compliance(spec=SPEC, section="Encryption 4", requirement="message keys")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["v2"]["valid"]["get_message_keys"]["keys"]))
def test_the_message_keys_are_derived(row):
    conversation = key(load_or_skip(FILE)["v2"]["valid"]["get_message_keys"]["conversation_key"])
    keys = nip44._message_keys(conversation, bytes.fromhex(row["nonce"]))
    assert keys.hex() == row["chacha_key"] + row["chacha_nonce"] + row["hmac_key"]


@pytest.mark.compliance(spec=SPEC, section="Encryption 3", requirement="padded length")
@pytest.mark.parametrize("row", rows(FILE, pick("valid", "calc_padded_len"), lambda row: row[0]))
def test_the_padded_length_is_computed(row):
    assert padded_length(row[0]) == row[1]


@pytest.mark.compliance(spec=SPEC, section="Encryption", requirement="payload of a given nonce, both ways")
@pytest.mark.parametrize("row", rows(FILE, pick("valid", "encrypt_decrypt")))
def test_a_message_is_encrypted_and_decrypted(row):
    conversation = key(row["conversation_key"])
    assert conversation_key(key(row["sec1"]), public_key(row["sec2"])) == conversation
    assert conversation_key(key(row["sec2"]), public_key(row["sec1"])) == conversation
    assert encrypt(row["plaintext"], conversation, bytes.fromhex(row["nonce"])) == row["payload"]
    assert decrypt(row["payload"], conversation) == row["plaintext"]


@pytest.mark.compliance(spec=SPEC, section="Encryption", requirement="long messages")
@pytest.mark.parametrize("row", rows(FILE, pick("valid", "encrypt_decrypt_long_msg")))
def test_a_long_message_is_encrypted_and_decrypted(row):
    plaintext = row["pattern"] * row["repeat"]
    check_by_hash(row, plaintext)


@pytest.mark.compliance(spec=SPEC, section="Encryption 3", requirement="extended length prefix from 65,536 bytes on")
@pytest.mark.parametrize("row", rows(EXTRA, lambda file: file["extended"], lambda row: row["plaintext_len"]))
def test_the_extended_length_prefix_is_written_and_read(row):
    assert padded_length(row["plaintext_len"]) == row["padded_len"]
    check_by_hash(row, "a" * row["plaintext_len"])


def check_by_hash(row, plaintext):
    conversation = key(row["conversation_key"])
    assert sha256(plaintext.encode()).hexdigest() == row["plaintext_sha256"]
    if len(plaintext.encode()) > MAX_PLAINTEXT:
        with pytest.raises(Nip44Error):
            encrypt(plaintext, conversation, bytes.fromhex(row["nonce"]))
        return
    payload = encrypt(plaintext, conversation, bytes.fromhex(row["nonce"]))
    assert sha256(payload.encode()).hexdigest() == row["payload_sha256"]
    assert decrypt(payload, conversation) == plaintext
