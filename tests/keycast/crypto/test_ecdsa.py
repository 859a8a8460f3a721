"""ECDSA verification: malformed and high-S first, then every row of Wycheproof's Bitcoin table."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import ORDER
from tests.vectors import rows

FILE = "wycheproof-ecdsa_secp256k1_sha256_bitcoin_test.json"
DIGEST = sha256(b"an event").digest()


def pem_of(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256K1())


def signed(key):
    """A DER signature, of either S."""
    return key.sign(DIGEST, ec.ECDSA(Prehashed(SHA256())))


def every_case(table):
    return [(group, case) for group in table["testGroups"] for case in group["tests"]]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_key_on_another_curve_is_refused(curve):
    with pytest.raises(CryptoError):
        ecdsa.public_key_from_pem(pem_of(ec.generate_private_key(curve)))


@pytest.mark.parametrize("text", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "x" * 5000])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(CryptoError):
        ecdsa.public_key_from_pem(text)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_never_verifies(key, size):
    assert not ecdsa.verify(ecdsa.public_key_from_pem(pem_of(key)), DIGEST, bytes(size))
    with pytest.raises(CryptoError):
        ecdsa.normalise(bytes(size))


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (1, ORDER), (ORDER + 1, 5)])
def test_numbers_out_of_range_are_refused(key, r, s):
    with pytest.raises(CryptoError):
        ecdsa.parse_der(encode_dss_signature(r, s))
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    with pytest.raises(CryptoError):
        ecdsa.normalise(compact)
    assert not ecdsa.verify(ecdsa.public_key_from_pem(pem_of(key)), DIGEST, compact)


def test_a_high_s_does_not_verify_until_it_is_normalised(key):
    public_key = ecdsa.public_key_from_pem(pem_of(key))
    low = ecdsa.normalise(ecdsa.parse_der(signed(key)))
    high = low[:32] + (ORDER - int.from_bytes(low[32:], "big")).to_bytes(32, "big")
    assert not ecdsa.verify(public_key, DIGEST, high)
    assert ecdsa.normalise(high) == low
    assert ecdsa.verify(public_key, DIGEST, low)
    assert not ecdsa.verify(public_key, sha256(b"another").digest(), low)


@pytest.mark.parametrize("row", rows(FILE, every_case, lambda row: f"{row[1]['tcId']} {row[1]['comment']}"))
def test_every_row_of_wycheproof_verifies_or_not(row):
    group, case = row
    public_key = ecdsa.public_key_from_pem(group["publicKeyPem"])
    digest = sha256(bytes.fromhex(case["msg"])).digest()
    try:
        verified = ecdsa.verify(public_key, digest, ecdsa.parse_der(bytes.fromhex(case["sig"])))
    except CryptoError:
        verified = False
    assert verified is (case["result"] == "valid")
