"""NIP-44 beyond the vectors: bounds, one error, fresh nonces, keys that are wiped."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keycast.crypto.errors import SecretWiped
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44
from keycast.nostr.nip44 import (
    MAX_PAYLOAD,
    MAX_PLAINTEXT,
    MIN_PAYLOAD,
    Nip44Error,
    decrypt,
    encrypt,
    padded_length,
    payload_length,
)

SPEC = "NIP-44"


@pytest.fixture
def key():
    return SecretBytes.random(32)


def refused(payload, key):
    with pytest.raises(Nip44Error) as refusal:
        decrypt(payload, key)
    assert str(refusal.value) == "invalid NIP-44 payload"
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@pytest.mark.compliance(spec=SPEC, section="Decryption 1", requirement="length checked before base64 or MAC")
def test_a_payload_of_impossible_length_is_refused_before_it_is_decoded(key, monkeypatch):
    monkeypatch.setattr(nip44, "a2b_base64", lambda *_, **__: pytest.fail("decoded"))
    for size in (0, 1, MIN_PAYLOAD - 1, MAX_PAYLOAD + 1, 8 << 20):
        refused("A" * size, key)


def test_an_altered_payload_is_refused_before_it_is_decrypted(key, monkeypatch):
    payload = encrypt("hello", key)
    monkeypatch.setattr(nip44, "_chacha20", lambda *_: pytest.fail("decrypted"))
    raw = bytearray(base64.b64decode(payload))
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        refused(base64.b64encode(changed).decode(), key)


def test_a_claimed_length_costs_no_memory(key):
    payload = sealed(key, bytes(2) + b"\xff\xff\xff\xff" + bytes(32))
    tracemalloc.start()
    refused(payload, key)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def sealed(key, padded):
    """A payload with a valid MAC around any padded bytes."""
    original = nip44._pad
    nip44._pad = lambda _: padded
    try:
        return encrypt("x", key)
    finally:
        nip44._pad = original


@pytest.mark.compliance(spec=SPEC, section="Decryption 6", requirement="padding exactly as encryption would write it")
@pytest.mark.parametrize(
    "padded",
    [
        b"\x00\x05hello" + bytes(58),
        b"\x00\x05hello" + bytes(26),
        b"\x00\x05hello" + bytes(28),
        b"\x00\x21" + b"a" * 32,
        b"\x00\x00" + b"a" * 32,
        bytes(2) + (5).to_bytes(4, "big") + b"hello" + bytes(27),
        bytes(2) + (65_535).to_bytes(4, "big") + b"a" * 65_535 + b"\0",
        bytes(2) + (65_536).to_bytes(4, "big") + b"a" * 65_535,
        b"\x00\x01\xff" + bytes(31),
        b"\x00\x02\xc0\xaf" + bytes(30),
        b"\x00\x03\xed\xa0\x80" + bytes(29),
        b"\x00",
        b"",
    ],
    ids=lambda padded: padded[:12].hex(),
)
def test_padding_or_text_that_encryption_never_writes_is_refused(key, padded):
    refused(sealed(key, padded), key)


def test_base64_has_one_spelling(key):
    """The payload of 33 bytes ends in ``=``, with two bits to spare before it: four texts decode to it."""
    payload = encrypt("a" * 33, key)
    body = payload.rstrip("=")
    assert body != payload
    refused(body, key)
    for spare in {alphabet_after(body[-1], step) for step in (1, 2, 3)}:
        refused(body[:-1] + spare + payload[len(body) :], key)
    for other in (
        payload + "=",
        payload + "\n",
        "\n" + payload,
        payload[:50] + "\n" + payload[50:],
        payload[:-1] + "\0",
    ):
        refused(other, key)


def alphabet_after(character, step):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return alphabet[alphabet.index(character) ^ step]


@pytest.mark.compliance(spec=SPEC, section="Versions", requirement="an unknown version or # is refused")
def test_another_version_is_refused(key):
    raw = bytearray(base64.b64decode(encrypt("hello", key)))
    for version in (0, 1, 3, 35, 255):
        raw[0] = version
        refused(base64.b64encode(raw).decode(), key)
    refused("#" + encrypt("hello", key)[1:], key)


@given(st.text(max_size=400))
@example("A" * 132)
@example("\ud800" * 132)
@example("?iv=" * 33)
def test_no_text_makes_decrypting_raise_anything_else(payload):
    refused(payload, SecretBytes(b"k" * 32))


def test_a_wiped_key_is_refused_and_never_taken_for_zeros(key):
    payload = encrypt("hello", key)
    key.wipe()
    with pytest.raises(SecretWiped):
        decrypt(payload, key)
    with pytest.raises(SecretWiped):
        encrypt("hello", key)


def test_a_key_wiped_by_another_thread_in_the_middle_is_refused(key, monkeypatch):
    original = nip44.view_of

    def wiping(secret, size):
        view = original(secret, size)
        secret.wipe()
        return view

    monkeypatch.setattr(nip44, "view_of", wiping)
    with pytest.raises(SecretWiped):
        encrypt("hello", key)


def test_what_may_not_be_encrypted_is_refused(key):
    for plaintext in ("", b"", "\ud800", "a" * (MAX_PLAINTEXT + 1), "é" * (MAX_PLAINTEXT // 2 + 1)):
        with pytest.raises(Nip44Error):
            encrypt(plaintext, key)
    for nonce in (b"", bytes(31), bytes(33), bytearray(32)):
        with pytest.raises(Nip44Error):
            encrypt("hello", key, nonce)


@pytest.mark.compliance(spec=SPEC, section="Encryption 2", requirement="a random nonce for every message")
def test_nonces_are_fresh(key):
    assert len({encrypt("hello", key) for _ in range(100)}) == 100


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
@example("a" * MAX_PLAINTEXT)
@example("a" * 65_535)
@example("a" * 65_536)
@example("a" * 65_537)
@example("é" * (MAX_PLAINTEXT // 2))
def test_what_was_encrypted_decrypts_and_has_the_announced_length(plaintext):
    key = SecretBytes(b"k" * 32)
    payload = encrypt(plaintext, key)
    assert decrypt(payload, key) == plaintext
    assert len(payload) == payload_length(len(plaintext.encode())) <= MAX_PAYLOAD


def test_padding_never_shrinks_and_never_loses_more_than_a_third():
    previous = 0
    for size in (*range(1, 3000), *range(65_000, 67_000), MAX_PLAINTEXT):
        padded = padded_length(size)
        assert padded >= max(size, 32, previous)
        assert size <= 32 or padded <= size * 4 / 3 + 32
        previous = padded
