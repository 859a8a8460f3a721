"""ECDSA over secp256k1, verification only: how an HSM that cannot sign for Nostr authorises what others sign.

Only low-S signatures verify: an authorisation has exactly one form, so that it can be counted and compared.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError

MAX_DER: Final = 72
MAX_PEM: Final = 4096
SIGNATURE_SIZE: Final = 64
_ZERO: Final = bytes(32)


def parse_der(signature: bytes) -> bytes:
    """``r ‖ s`` (64 bytes) of a strictly DER-encoded signature (SEC 1, C.5). Raises CryptoError.

    Only the encoding and the range of both numbers are checked; ``s`` may be high, see ``normalise``.
    """
    if type(signature) is not bytes or not 8 <= len(signature) <= MAX_DER:
        raise CryptoError("not a DER signature")
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    if lib.secp256k1_ecdsa_signature_parse_der(CONTEXT, parsed, signature, len(signature)) != 1:
        raise CryptoError("not a DER signature")
    compact = _compact(parsed)
    if _ZERO in {compact[:32], compact[32:]}:  # how libsecp256k1 keeps a number that is out of range
        raise CryptoError("not a DER signature")
    return compact


def normalise(compact: bytes) -> bytes:
    """The low-S form of a 64-byte signature (BIP-62, rule 5). Raises CryptoError when r or s is out of range."""
    parsed = _parsed(compact)
    lib.secp256k1_ecdsa_signature_normalize(CONTEXT, parsed, parsed)
    return _compact(parsed)


def verify(public_key: bytes, digest: bytes, compact: bytes) -> bool:
    """Whether ``compact`` (64 bytes, low-S) is the signature of ``digest`` (32 bytes) by ``public_key`` (33 bytes).

    Anything malformed, and a high S, is simply False. Source: SEC 1, 4.1.4.
    """
    if type(public_key) is not bytes or type(digest) is not bytes or len(public_key) != 33 or len(digest) != 32:
        return False
    key = ffi.new("secp256k1_pubkey *")
    if lib.secp256k1_ec_pubkey_parse(CONTEXT, key, public_key, 33) != 1:
        return False
    try:
        parsed = _parsed(compact)
    except CryptoError:
        return False
    return bool(lib.secp256k1_ecdsa_verify(CONTEXT, parsed, digest, key) == 1)


def public_key_from_pem(pem: str) -> bytes:
    """The compressed point (33 bytes) of a PEM SubjectPublicKeyInfo (RFC 5480). Raises CryptoError for other curves."""
    if type(pem) is not str or len(pem) > MAX_PEM:
        raise CryptoError("not a public key")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise CryptoError("not a public key") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256K1):
        raise CryptoError("not a public key on secp256k1")
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _parsed(compact: bytes) -> object:
    if type(compact) is not bytes or len(compact) != SIGNATURE_SIZE or _ZERO in {compact[:32], compact[32:]}:
        raise CryptoError("not a signature")
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    if lib.secp256k1_ecdsa_signature_parse_compact(CONTEXT, parsed, compact) != 1:
        raise CryptoError("not a signature")
    return parsed


def _compact(parsed: object) -> bytes:
    output = ffi.new("unsigned char[64]")
    lib.secp256k1_ecdsa_signature_serialize_compact(CONTEXT, output, parsed)
    return bytes(ffi.buffer(output))
