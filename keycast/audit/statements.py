"""What is signed about a chain, byte by byte: checkpoints and cuts. No Django, no I/O (docs/audit.md).

A statement is signed as the UTF-8 text of one JSON array without spaces, escaped like the body of a row
(keycast.audit.chain). Hashes in it are 64 lower-case hex digits. Public keys are DER SubjectPublicKeyInfo (RFC 5280),
written in base64: Ed25519 signs the text itself, ECDSA (P-256 or secp256k1, in DER) its SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

CHECKPOINT: Final = "keycast.audit.checkpoint.1"
CUT: Final = "keycast.audit.cut.1"
NO_PREVIOUS: Final = "0" * 64
KEY_ID_SIZE: Final = 16
_encode = msgspec.json.Encoder().encode
S = TypeVar("S", bound="Checkpoint | Cut")


class StatementError(ValueError):
    """Something that should be a statement, a signature or a public key is none."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a chain was: its first ``size`` rows have the Merkle root ``root``, and row ``size`` the hash ``head``.

    ``number`` counts the chain's checkpoints from 1, ``previous`` is the SHA-256 of the statement before this one (or
    NO_PREVIOUS), ``at`` is Unix time in microseconds, ``key`` the id of the key that signed.
    """

    chain: str
    number: int
    size: int
    root: str
    head: str
    previous: str
    at: int
    key: str

    def message(self) -> bytes:
        """The bytes that are signed."""
        fields = (self.chain, self.number, self.size, self.root, self.head, self.previous, self.at, self.key)
        return _encode((CHECKPOINT, *fields))

    def digest(self) -> str:
        """What the next checkpoint names as its ``previous``."""
        return hashlib.sha256(self.message()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cut:
    """That the rows ``first`` to ``through`` of a chain, ``count`` of them, were removed on purpose.

    ``root`` and ``head`` are those of the checkpoint of that size. ``actor`` and ``reason`` are for people to read.
    """

    chain: str
    number: int
    first: int
    through: int
    count: int
    root: str
    head: str
    at: int
    actor: str
    reason: str
    key: str

    def message(self) -> bytes:
        """The bytes that are signed."""
        range_ = (self.number, self.first, self.through, self.count)
        return _encode((CUT, self.chain, *range_, self.root, self.head, self.at, self.actor, self.reason, self.key))


def as_line(statement: Checkpoint | Cut, signature: bytes) -> dict[str, Any]:
    """A statement and its signature as they stand in files."""
    return {**asdict(statement), "signature": base64.b64encode(signature).decode()}


def from_line(kind: type[S], line: Any) -> tuple[S, bytes]:
    """The statement and signature of a line. Raises StatementError."""
    try:
        fields = dict(line)
        signature = base64.b64decode(fields.pop("signature"), validate=True)
        return msgspec.convert(fields, kind, strict=True), signature
    except (TypeError, ValueError, KeyError, binascii.Error, msgspec.ValidationError):
        raise StatementError(f"not a signed {kind.__name__.lower()}") from None


def key_id(public_key: bytes) -> str:
    """Sixteen hex digits that tell public keys apart: the beginning of their SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_SIZE]


def parse_public_key(text: str) -> bytes:
    """A public key (DER) from base64 or PEM. Raises StatementError."""
    try:
        if "-----BEGIN" in text:
            key = load_pem_public_key(text.encode())
        else:
            key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm):
        raise StatementError("not a public key in base64 or PEM") from None
    if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise StatementError("neither an Ed25519 nor an elliptic-curve key")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` by ``public_key`` (DER). Anything malformed is simply False."""
    try:
        key = load_der_public_key(public_key)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


class Keyring:
    """Public keys that are trusted to sign statements, by their ids."""

    def __init__(self, public_keys: Iterable[bytes]) -> None:
        self._keys: Mapping[str, bytes] = {key_id(key): key for key in public_keys}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __iter__(self) -> Any:
        return iter(self._keys.values())

    def problem(self, statement: Checkpoint | Cut, signature: bytes) -> str:
        """Why a statement cannot be believed, in one sentence; empty when it can."""
        public_key = self._keys.get(statement.key)
        if public_key is None:
            return f"It is signed by the key {statement.key}, which is not trusted."
        if not is_signed(statement.message(), signature, public_key):
            return "Its signature is wrong."
        return ""
