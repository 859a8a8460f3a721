"""Raw ECDH: refusals, agreement, and agreement with an independent implementation."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from keycast.crypto import ecdh
from keycast.crypto.ecdh import shared_x
from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
CURVE = ec.SECP256K1()


@pytest.fixture
def keypair():
    return Keypair.generate()[0]


@pytest.mark.parametrize(
    "peer",
    [
        b"",
        bytes(32),
        b"\xff" * 32,
        bytes(31),
        bytes(33),
        bytes.fromhex("eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34"),
        "00" * 32,
        None,
    ],
)
def test_a_peer_off_the_curve_is_refused(keypair, peer):
    with pytest.raises(CryptoError):
        shared_x(keypair, peer)


def test_a_secret_out_of_range_or_wiped_is_refused(keypair):
    for broken in (SecretBytes.zero(32), SecretBytes(b"\xff" * 32), SecretBytes(b"\x01" * 31)):
        with pytest.raises(CryptoError):
            shared_x(broken, keypair.public_key)
    with pytest.raises(TypeError):
        shared_x(b"\x01" * 32, keypair.public_key)
    wiped = SecretBytes(b"\x01" * 32)
    wiped.wipe()
    with pytest.raises(SecretWiped):
        shared_x(wiped, keypair.public_key)
    other = Keypair.generate()[0]
    other.wipe()
    with pytest.raises(SecretWiped):
        shared_x(other, keypair.public_key)


def test_a_failure_of_the_library_gives_no_secret(keypair, monkeypatch):
    peer = Keypair.generate()[0].public_key
    silent = ecdh.ffi.callback(
        "int(unsigned char *, const unsigned char *, const unsigned char *, void *)", lambda *_: 0
    )
    monkeypatch.setattr(ecdh, "_copy_x", silent)
    with pytest.raises(CryptoError):
        shared_x(keypair, peer)


def test_both_sides_share_the_same_x():
    (alice, alice_secret), (bob, bob_secret) = Keypair.generate(), Keypair.generate()
    assert shared_x(alice, bob.public_key) == shared_x(bob, alice.public_key)
    assert shared_x(alice_secret, bob.public_key) == shared_x(bob_secret.view(), alice.public_key)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
def test_it_agrees_with_openssl(mine, theirs):
    peer = ec.derive_private_key(theirs, CURVE).public_key().public_numbers().x
    lifted = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, b"\x02" + peer.to_bytes(32, "big"))
    expected = ec.derive_private_key(mine, CURVE).exchange(ec.ECDH(), lifted)
    shared = shared_x(SecretBytes(mine.to_bytes(32, "big")), peer.to_bytes(32, "big"))
    assert bytes(shared.view()) == expected
