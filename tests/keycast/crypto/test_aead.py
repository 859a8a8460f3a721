"""Sealed blobs: whatever is changed, they do not open, and they do not say why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.crypto.aead import MAX_PLAINTEXT, OVERHEAD, open_into, seal
from keycast.crypto.errors import AeadError, CryptoError, SecretWiped
from keycast.crypto.secret import SecretBytes

AAD = b"tenant|key|public key|personal-key"


@pytest.fixture
def key():
    return SecretBytes.random(32)


def refused(key, blob, aad=AAD):
    with pytest.raises(AeadError) as refusal:
        open_into(key, blob, aad)
    assert str(refusal.value) == "sealed data does not open"


def test_a_blob_with_any_byte_changed_does_not_open(key):
    blob = seal(key, b"secret" * 5, AAD)
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 0x01
        refused(key, bytes(changed))


def test_a_blob_cut_or_extended_does_not_open(key):
    blob = seal(key, b"secret", AAD)
    for broken in (b"", blob[:1], blob[:OVERHEAD], blob[:-1], blob + b"\0", bytes(len(blob)), blob[1:]):
        refused(key, broken)


def test_a_blob_too_long_is_refused_before_it_is_read(key):
    refused(key, b"\x01" + bytes(OVERHEAD + MAX_PLAINTEXT))
    with pytest.raises(CryptoError):
        seal(key, bytes(MAX_PLAINTEXT + 1), AAD)


def test_a_blob_moved_to_another_place_does_not_open(key):
    blob = seal(key, b"secret", AAD)
    for other in (b"", AAD + b"x", AAD[:-1], b"other" + AAD):
        refused(key, blob, other)


def test_a_blob_of_another_version_does_not_open(key):
    blob = seal(key, b"secret", AAD)
    for version in (0, 2, 255):
        refused(key, bytes([version]) + blob[1:])


def test_another_key_does_not_open_it(key):
    refused(SecretBytes.random(32), seal(key, b"secret", AAD))


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_only_keys_of_32_bytes_are_taken(size):
    with pytest.raises(CryptoError):
        seal(SecretBytes.zero(size), b"secret", AAD)


def test_a_wiped_key_or_plaintext_is_refused(key):
    plaintext = SecretBytes(b"secret")
    plaintext.wipe()
    with pytest.raises(SecretWiped):
        seal(key, plaintext, AAD)
    blob = seal(key, b"secret", AAD)
    key.wipe()
    with pytest.raises(SecretWiped):
        seal(key, b"secret", AAD)
    with pytest.raises(SecretWiped):
        open_into(key, blob, AAD)


def test_associated_data_is_bytes(key):
    with pytest.raises(TypeError):
        seal(key, b"secret", "text")


def test_nonces_are_fresh(key):
    blobs = {seal(key, b"secret", AAD)[1:13] for _ in range(200)}
    assert len(blobs) == 200


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_what_was_sealed_opens(plaintext, aad):
    key = SecretBytes(b"k" * 32)
    blob = seal(key, SecretBytes(plaintext), aad)
    assert len(blob) == len(plaintext) + OVERHEAD
    assert open_into(key, blob, aad) == SecretBytes(plaintext)
    assert open_into(key, memoryview(blob), aad) == SecretBytes(plaintext)
