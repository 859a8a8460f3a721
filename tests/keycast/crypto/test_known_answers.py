"""The known answers of split keys, computed once more without libsecp256k1, and what happens when one differs."""

from __future__ import annotations

from hashlib import sha256

import pytest

from keycast.crypto import ecdsa, known_answers, musig, split
from keycast.crypto.known_answers import KnownAnswerFailed
from keycast.crypto.musig import ORDER
from keycast.crypto.secret import SecretBytes

P = 2**256 - 2**32 - 977
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(one, two):
    if one is None or two is None:
        return one or two
    if one[0] == two[0] and one[1] != two[1]:
        return None
    if one == two:
        slope = 3 * one[0] ** 2 * pow(2 * one[1], -1, P) % P
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, P) % P
    x = (slope**2 - one[0] - two[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def times(point, factor):
    total = None
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def compressed(point):
    return bytes([2 | point[1] & 1]) + point[0].to_bytes(32, "big")


def tagged(tag, data):
    digest = sha256(tag).digest()
    return sha256(digest + digest + data).digest()


def number(data):
    return int.from_bytes(data, "big") % ORDER


def nonce(randomness, secret, aggregate, message, extra):
    """BIP-327, NonceGen, as its reference code has it."""
    masked = bytes(a ^ b for a, b in zip(secret, tagged(b"MuSig/aux", randomness), strict=True))
    own = compressed(times(G, number(secret)))
    data = masked + bytes([len(own)]) + own + bytes([32]) + aggregate
    data += b"\x01" + len(message).to_bytes(8, "big") + message + len(extra).to_bytes(4, "big") + extra
    secrets = [number(tagged(b"MuSig/nonce", data + bytes([index]))) for index in range(2)]
    return secrets, b"".join(compressed(times(G, found)) for found in secrets)


@pytest.mark.compliance(spec="BIP-327", section="NonceGen", requirement="another implementation gives the known answer")
def test_another_implementation_gives_the_known_nonces_and_signature():
    first, second = bytes.fromhex(known_answers._HALF_A), bytes.fromhex(known_answers._HALF_B)
    points = [times(G, number(secret)) for secret in (first, second)]
    keys = b"".join(map(compressed, points))
    of_list = tagged(b"KeyAgg list", keys)
    coefficients = [number(tagged(b"KeyAgg coefficient", of_list + keys[:33])), 1]
    whole = add(times(points[0], coefficients[0]), points[1])
    x, message = whole[0].to_bytes(32, "big"), known_answers._MESSAGE
    secrets_a, public_a = nonce(bytes([1]) * 32, first, x, message, b"")
    secrets_b, public_b = nonce(bytes([3]) * 32, second, x, message, bytes([2]) * 32)
    assert (public_a.hex(), public_b.hex()) == (known_answers._NONCE_A, known_answers._NONCE_B)

    sums = [times(G, (one + two) % ORDER) for one, two in zip(secrets_a, secrets_b, strict=True)]
    b = number(tagged(b"MuSig/noncecoef", b"".join(map(compressed, sums)) + x + message))
    final = add(sums[0], times(sums[1], b))
    e = number(tagged(b"BIP0340/challenge", final[0].to_bytes(32, "big") + x + message))
    sign = -1 if final[1] & 1 else 1
    parity = -1 if whole[1] & 1 else 1
    s = 0
    for (k1, k2), secret, coefficient in zip((secrets_a, secrets_b), (first, second), coefficients, strict=True):
        s += sign * (k1 + b * k2) + e * coefficient * parity * number(secret)
    signature = final[0].to_bytes(32, "big") + (s % ORDER).to_bytes(32, "big")
    assert signature.hex() == known_answers._SIGNATURE


def test_all_known_answers_are_given_here():
    known_answers.require()


@pytest.mark.parametrize(
    ("primitive", "module", "name", "wrong"),
    [
        ("MuSig2", musig, "partial_sign", lambda *_: bytes(31) + b"\x01"),
        ("MuSig2", musig, "verify_partial", lambda *_: True),
        ("ECDH", split, "ecdh_contribution", lambda *_: SecretBytes(b"\x02" + G[0].to_bytes(32, "big"))),
        ("ECDSA", ecdsa, "verify", lambda *_: True),
        ("ECDSA", ecdsa, "verify", lambda *_: False),
    ],
)
def test_a_primitive_that_gives_another_answer_is_named(monkeypatch, primitive, module, name, wrong):
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(KnownAnswerFailed, match=primitive):
        known_answers.require()
