"""NIP-04, as far as the ``nip04_*`` methods need it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip04 import MAX_PLAINTEXT, Nip04Error, decrypt, encrypt, shared_key

SPEC = "NIP-04"
ALICE = "91ba716fa9e7ea2fcbad360cf4f8e0d312f73984da63d90f524ad61a6a1e7dbe"
BOB = "96f6fa197aa07477ab88f6981118466ae3a982faab8ad5db9d5426870c73d220"


@pytest.fixture
def key():
    return SecretBytes.random(32)


def refused(payload, key):
    with pytest.raises(Nip04Error) as refusal:
        decrypt(payload, key)
    assert str(refusal.value) == "invalid NIP-04 payload"


@pytest.mark.compliance(spec=SPEC, section="content", requirement="a malformed payload is one error and no crash")
@pytest.mark.parametrize(
    "payload",
    [
        "",
        "?iv=",
        "AAAA",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "?iv=AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAA",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=" + "A" * 44,
        "AAAA?iv=AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA==" + "?iv=" * 2000,
        "AAAAAAAAAAAAAAAAAAAA AA==?iv=AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==\n",
        "é" * 24 + "?iv=AAAAAAAAAAAAAAAAAAAAAA==",
        "A" * (8 << 20),
    ],
    ids=lambda payload: ascii(payload)[:40],
)
def test_a_malformed_payload_is_refused(key, payload):
    refused(payload, key)


def test_wrong_padding_text_or_an_empty_text_is_refused(key):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES256(key.view()), modes.CBC(bytes(16)))
    iv = base64.b64encode(bytes(16)).decode()
    for block in (bytes(16), b"\x10" * 16, b"\xff" * 15 + b"\x01", b"a" * 15 + b"\x02", b"a" * 15 + b"\x11"):
        sealed = encryptor.encryptor().update(block)
        refused(f"{base64.b64encode(sealed).decode()}?iv={iv}", key)


@given(st.text(max_size=200))
def test_no_text_makes_decrypting_raise_anything_else(payload):
    refused(payload, SecretBytes(b"k" * 32))


def test_what_may_not_be_encrypted_is_refused(key):
    for plaintext in ("", "\ud800", "a" * (MAX_PLAINTEXT + 1)):
        with pytest.raises(Nip04Error):
            encrypt(plaintext, key)


def test_a_wiped_key_or_a_peer_off_the_curve_is_refused(key):
    payload = encrypt("hello", key)
    key.wipe()
    for attempt in (lambda: encrypt("hello", key), lambda: decrypt(payload, key)):
        with pytest.raises(SecretWiped):
            attempt()
    with pytest.raises(CryptoError):
        shared_key(Keypair.generate()[0], bytes(32))


@pytest.mark.compliance(spec=SPEC, section="content", requirement="decrypts what another implementation wrote")
def test_a_text_that_nostr_tools_wrote_is_read():
    alice, bob = (Keypair.from_secret(SecretBytes(bytes.fromhex(secret))) for secret in (ALICE, BOB))
    payload = "zJxfaJ32rN5Dg1ODjOlEew==?iv=EV5bUjcc4OX2Km/zPp4ndQ=="
    assert decrypt(payload, shared_key(bob, alice.public_key)) == "nanana"
    iv = base64.b64decode("EV5bUjcc4OX2Km/zPp4ndQ==")
    assert encrypt("nanana", shared_key(alice, bob.public_key), iv) == payload


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
@example("a" * MAX_PLAINTEXT)
@example("a" * 16)
def test_what_was_encrypted_decrypts(plaintext):
    key = SecretBytes(b"k" * 32)
    assert decrypt(encrypt(plaintext, key), key) == plaintext
    assert encrypt(plaintext, key) != encrypt(plaintext, key)
