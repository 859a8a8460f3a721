"""Keys of authorisers say themselves which curve they are on, and verify there alone."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import authoriser_keys
from keycast.crypto.authoriser_keys import Curve
from keycast.crypto.errors import CryptoError

CURVES = {Curve.SECP256K1: ec.SECP256K1(), Curve.P256: ec.SECP256R1()}
DIGEST = bytes(range(32))


class Pair:
    def __init__(self, curve):
        self.private = ec.generate_private_key(CURVES[curve])
        self.point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.long_point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.key = authoriser_keys.tagged(curve, self.point)

    def der(self, digest=DIGEST):
        return self.private.sign(digest, ec.ECDSA(Prehashed(SHA256())))

    def sign(self, digest=DIGEST):
        return authoriser_keys.from_der(self.key, self.der(digest))


@pytest.fixture(params=list(Curve))
def curve(request):
    return request.param


@pytest.fixture
def pair(curve):
    return Pair(curve)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"\x02",
        b"\x04" + bytes(32),
        b"\x00" + b"\x02" * 33,
        b"\x02" + b"\x02" * 33,
        b"\x01" + b"\x02" * 32,
        bytes(34),
    ],
)
def test_what_has_no_curve_by_its_length_and_first_byte_is_no_key(key):
    for call in (authoriser_keys.curve_of, authoriser_keys.require, lambda k: authoriser_keys.normalise(k, bytes(64))):
        with pytest.raises(CryptoError):
            call(key)
    assert not authoriser_keys.verify(key, DIGEST, b"\x01" * 64)


def test_a_point_that_is_not_on_the_curve_is_refused():
    for curve, tag in ((Curve.SECP256K1, b""), (Curve.P256, b"\x01")):
        nowhere = tag + b"\x02" + b"\xff" * 32
        assert authoriser_keys.curve_of(nowhere) is curve
        with pytest.raises(CryptoError):
            authoriser_keys.require(nowhere)
        assert not authoriser_keys.verify(nowhere, DIGEST, b"\x01" * 64)


def test_a_key_of_one_curve_is_never_tried_on_the_other(pair, curve):
    other = {Curve.SECP256K1: Curve.P256, Curve.P256: Curve.SECP256K1}[curve]
    bare = pair.point
    wrong = bare if other is Curve.SECP256K1 else b"\x01" + bare
    assert authoriser_keys.curve_of(wrong) is other
    assert not authoriser_keys.verify(wrong, DIGEST, pair.sign())


def test_a_high_s_another_digest_and_another_key_do_not_verify(pair, curve):
    signature = pair.sign()
    order = {Curve.SECP256K1: 2**256 - 0x14551231950B75FC4402DA1732FC9BEBF, Curve.P256: authoriser_keys._P256_ORDER}
    high = signature[:32] + (order[curve] - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert authoriser_keys.normalise(pair.key, high) == signature
    assert not authoriser_keys.verify(pair.key, DIGEST, high)
    assert not authoriser_keys.verify(pair.key, bytes(32), signature)
    assert not authoriser_keys.verify(Pair(curve).key, DIGEST, signature)
    assert not authoriser_keys.verify(pair.key, DIGEST, signature[:63])
    assert not authoriser_keys.verify(pair.key, DIGEST[:31], signature)


@pytest.mark.parametrize("numbers", [bytes(64), bytes(32) + b"\x01" * 32, b"\x01" * 32 + bytes(32), b"\xff" * 64, b""])
def test_numbers_out_of_range_are_no_signature(pair, numbers):
    with pytest.raises(CryptoError):
        authoriser_keys.normalise(pair.key, numbers)
    assert not authoriser_keys.verify(pair.key, DIGEST, numbers)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"\x30\x46" + b"\x02" * 70])
def test_what_is_not_der_is_refused(pair, der):
    with pytest.raises(CryptoError):
        authoriser_keys.from_der(pair.key, der)


def test_each_signature_has_one_form_and_verifies(pair):
    for _ in range(16):
        digest = os.urandom(32)
        signature = pair.sign(digest)
        assert len(signature) == 64
        assert authoriser_keys.normalise(pair.key, signature) == signature
        assert authoriser_keys.verify(pair.key, digest, signature)


def test_both_forms_of_a_point_are_one_key(pair, curve):
    assert authoriser_keys.tagged(curve, pair.long_point) == pair.key
    authoriser_keys.require(pair.key)
    assert len(pair.key) == {Curve.SECP256K1: 33, Curve.P256: 34}[curve]


def test_a_signature_made_elsewhere_verifies():
    """RFC 6979, A.2.5: P-256, SHA-256, message "sample"."""
    x = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
    key = b"\x01\x03" + bytes.fromhex(x)
    digest = bytes.fromhex("AF2BDBE1AA9B6EC1E2ADE1D694F41FC71A831D0268E9891562113D8A62ADD1BF")
    r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    compact = authoriser_keys.normalise(key, bytes.fromhex(r + s))
    assert authoriser_keys.verify(key, digest, compact)
