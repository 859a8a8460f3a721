"""Public keys of authorisers: ECDSA over secp256k1 or P-256, and which of the two is said by the key itself.

A compressed point alone (33 bytes, first byte 2 or 3) is on secp256k1, as all were once. Every other curve has a byte
of its own before the point: ``0x01`` is P-256 (34 bytes). Nothing is tried on one curve and then on another.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keycast.crypto.points import POINT_SIZE, compressed

P256_TAG: Final = b"\x01"
LONGEST: Final = POINT_SIZE + 1
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""SEC 2, 2.4.2."""


class Curve(Enum):
    """What an authoriser's key is on; the values are how settings name it."""

    SECP256K1 = "secp256k1"
    P256 = "p256"


def tagged(curve: Curve, point: bytes) -> bytes:
    """The key with this point, in either form of SEC 1, 2.3.3. Raises CryptoError."""
    if curve is Curve.SECP256K1:
        return compressed(point)
    return P256_TAG + _on_p256(point).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def curve_of(key: bytes) -> Curve:
    """Which curve a key is on; its point is looked at by ``require``. Raises CryptoError."""
    if type(key) is bytes and len(key) == POINT_SIZE and key[0] in {2, 3}:
        return Curve.SECP256K1
    if type(key) is bytes and len(key) == LONGEST and key[:1] == P256_TAG:
        return Curve.P256
    raise CryptoError("not the key of an authoriser")


def require(key: bytes) -> None:
    """Raise CryptoError unless this is a key as ``tagged`` gives it."""
    curve = curve_of(key)
    if tagged(curve, key[-POINT_SIZE:]) != key:
        raise CryptoError("not the key of an authoriser")


def normalise(key: bytes, compact: bytes) -> bytes:
    """The low-S form of ``r ‖ s`` (64 bytes) on the key's curve. Raises CryptoError when r or s is out of range."""
    if curve_of(key) is Curve.SECP256K1:
        return ecdsa.normalise(compact)
    r, s = _numbers(compact)
    return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def from_der(key: bytes, signature: bytes) -> bytes:
    """The low-S ``r ‖ s`` (64 bytes) of a DER-encoded signature on the key's curve. Raises CryptoError."""
    if curve_of(key) is Curve.SECP256K1:
        return ecdsa.normalise(ecdsa.parse_der(signature))
    try:
        r, s = decode_dss_signature(signature)
        return normalise(key, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    except (ValueError, OverflowError):
        raise CryptoError("not a DER signature") from None


def verify(key: bytes, digest: bytes, compact: bytes) -> bool:
    """Whether ``compact`` (64 bytes, low-S) is the signature of ``digest`` (32 bytes) by ``key``.

    Anything malformed, and a high S, is simply False. Source: SEC 1, 4.1.4.
    """
    try:
        if curve_of(key) is Curve.SECP256K1:
            return ecdsa.verify(key, digest, compact)
        r, s = _numbers(compact)
        if type(digest) is not bytes or len(digest) != 32 or s > _P256_ORDER // 2:
            return False
        _on_p256(key[-POINT_SIZE:]).verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(SHA256())))
    except (CryptoError, InvalidSignature):
        return False
    return True


def _numbers(compact: bytes) -> tuple[int, int]:
    if type(compact) is not bytes or len(compact) != ecdsa.SIGNATURE_SIZE:
        raise CryptoError("not a signature")
    r, s = int.from_bytes(compact[:32], "big"), int.from_bytes(compact[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise CryptoError("not a signature")
    return r, s


@lru_cache(4096)
def _on_p256(point: bytes) -> ec.EllipticCurvePublicKey:
    """Parsed once: a key authorises again and again. Raises CryptoError."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, TypeError):
        raise CryptoError("not a point on P-256") from None
