"""What is asked of the transit engine, and what its answers have to show."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from keycast.crypto import authoriser_keys
from keycast.crypto.authoriser_keys import Curve
from keycast.crypto.errors import CryptoError
from keys.hsm.openbao.calls import BaoAnswer, BaoRequest, UnverifiableBaoAnswer
from keys.hsm_errors import HsmAnswerRefused

KEY_TYPE: Final = "ecdsa-p256"
VERSION: Final = 1
"""Another one, made by a rotation there, is none that the co-signer knows."""
_SIGNATURE: Final = re.compile(rf"vault:v{VERSION}:([A-Za-z0-9+/=]{{1,120}})")
_NEVER: Final = ("exportable", "allow_plaintext_backup", "imported_key", "derived")


def sign(mount: str, name: str, digest: bytes) -> BaoRequest:
    """The call that has a digest signed. A key that is gone, or taken out of use, is status 400."""
    body = {
        "input": base64.b64encode(digest).decode(),
        "prehashed": True,
        "hash_algorithm": "sha2-256",
        "marshaling_algorithm": "asn1",
        "key_version": VERSION,
    }
    return BaoRequest("POST", f"{mount}/sign/{name}", body, frozenset({400}))


def verified(answer: BaoAnswer, digest: bytes, key: bytes) -> bytes:
    """The low-S ``r ‖ s`` in an answer, if it is this key's. Raises HsmAnswerRefused."""
    found = _SIGNATURE.fullmatch(answer.text("signature"))
    if not found:
        raise HsmAnswerRefused from ValueError("no signature of this version")
    try:
        compact = authoriser_keys.from_der(key, base64.b64decode(found[1], validate=True))
    except (CryptoError, binascii.Error) as error:
        raise UnverifiableBaoAnswer from error
    if not authoriser_keys.verify(key, digest, compact):
        raise UnverifiableBaoAnswer from ValueError("signature of another key or digest")
    return compact


def is_right_kind(data: Mapping[str, Any]) -> bool:
    """Whether a key was made there, on P-256, and can be taken out neither in clear nor in a backup."""
    return data.get("type") == KEY_TYPE and all(data.get(name, False) is False for name in _NEVER)


def is_disabled(data: Mapping[str, Any]) -> bool:
    return data.get("soft_deleted") is True


def public_key(data: Mapping[str, Any]) -> bytes:
    """The public key of the version in use (keycast.crypto.authoriser_keys). Raises HsmAnswerRefused."""
    versions = data.get("keys")
    found = versions.get(str(VERSION)) if isinstance(versions, dict) else None
    pem = found.get("public_key") if isinstance(found, dict) else None
    try:
        key = load_pem_public_key(str(pem).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise HsmAnswerRefused from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise HsmAnswerRefused from ValueError("public key of another curve")
    return authoriser_keys.tagged(Curve.P256, key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
