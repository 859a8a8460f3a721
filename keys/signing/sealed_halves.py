"""Halves of an imported key that its owner's browser drew, each sealed to the signer that is to have it.

HPKE (RFC 9180), base mode, one message a key: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, which every browser
with Web Cryptography has. A sealed half is ``enc`` (65 bytes) ‖ ciphertext (48 bytes). What the two halves are, for
whom and on which page is HPKE's ``info`` (``SplitStatement.info``): a half that was sealed for another tenant, key,
page or signer, or beside other halves, does not open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import public_point
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.refs import SealedSecret, SecretPurpose
from keys.signing.envelope import SealingContext

SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PUBLIC_SIZE: Final = 65
"""Bytes of an encryption key, an uncompressed point of P-256 (SEC 1, 2.3.3)."""
SEALED_SIZE: Final = PUBLIC_SIZE + 32 + 16
TOKEN_SIZE: Final = 32
_DOMAIN: Final = b"keycast/sealed-half/1\x00"


class SealedHalfError(CryptoError):
    """A sealed half does not open, or is not what was said of it; the same for every cause."""

    def __init__(self) -> None:
        super().__init__("a sealed half does not fit")


class HalfRole(StrEnum):
    """Whose half it is: signer A's, or the co-signer's."""

    SIGNER = "A"
    COSIGNER = "B"


@dataclass(frozen=True, slots=True)
class SplitStatement:
    """What an import page says in clear of the two halves that it made: all of it public, all of it bound.

    ``token`` (32 bytes) names the page. The keys are x-only (32 bytes); ``tweak`` has 32 bytes.
    """

    tenant_id: UUID
    key_id: UUID
    token: bytes
    public_key: bytes
    half_a: bytes
    half_b: bytes
    tweak: bytes

    def info(self, role: HalfRole) -> bytes:
        """HPKE's ``info``: every field at a fixed offset."""
        who = role.value.encode() + self.tenant_id.bytes + self.key_id.bytes + self.token
        return _DOMAIN + who + self.public_key + self.half_a + self.half_b + self.tweak

    def require_sound(self) -> None:
        """Raise SealedHalfError unless the halves and the tweak make the key that was said."""
        if any(len(part) != 32 for part in (self.token, self.public_key, self.half_a, self.half_b, self.tweak)):
            raise SealedHalfError
        try:
            made = KeyAggregate(b"\x02" + self.half_a, b"\x02" + self.half_b, self.tweak)
        except CryptoError:
            raise SealedHalfError from None
        if made.public_key != self.public_key:
            raise SealedHalfError


@dataclass(frozen=True, slots=True)
class PageKey:
    """Signer A's encryption key for one import page: ``public`` (65 bytes), and the private key sealed."""

    public: bytes
    sealed: SealedSecret

    def place(self, tenant_id: UUID, key_id: UUID) -> SealingContext:
        """Where the private key belongs; it has no public key on secp256k1, so a digest names it."""
        return SealingContext(tenant_id, key_id, sha256(self.public).hexdigest(), SecretPurpose.PAGE_KEY)


@dataclass(frozen=True, slots=True)
class SealedHalves:
    """An imported key as the browser hands it over."""

    said: SplitStatement
    page_key: PageKey
    sealed_a: bytes = field(repr=False)
    sealed_b: bytes = field(repr=False)


def fresh_key() -> ec.EllipticCurvePrivateKey:
    """An encryption key."""
    return ec.generate_private_key(ec.SECP256R1())


def public_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    """The 65 bytes that are published."""
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def private_bytes(private: ec.EllipticCurvePrivateKey) -> SecretBytes:
    """The private key (PKCS #8), to be sealed."""
    return SecretBytes.adopt_bytes(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def loaded(private: SecretBytes) -> ec.EllipticCurvePrivateKey:
    """The key of ``private_bytes``. Raises SealedHalfError."""
    try:
        key = load_der_private_key(private.view(), None)
    except ValueError:
        raise SealedHalfError from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SealedHalfError
    return key


def fingerprint(public: bytes) -> str:
    """How people compare an encryption key: the first 80 bits of its SHA-256, in groups of four hex digits."""
    digest = sha256(public).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, 20, 4))


def open_half(
    sealed: bytes, private: ec.EllipticCurvePrivateKey, said: SplitStatement, role: HalfRole
) -> tuple[Keypair, SecretBytes]:
    """The half of this role; the caller wipes both. Raises SealedHalfError unless all that was said is true."""
    said.require_sound()
    if len(sealed) != SEALED_SIZE:
        raise SealedHalfError
    try:
        secret = SecretBytes.adopt_bytes(SUITE.decrypt(sealed, private, info=said.info(role)))
    except InvalidTag:
        raise SealedHalfError from None
    try:
        keypair = Keypair.from_secret(secret)
    except CryptoError:
        secret.wipe()
        raise SealedHalfError from None
    expected = said.half_a if role is HalfRole.SIGNER else said.half_b
    # Halves are named by 32 bytes, so their points have an even Y (decision 23).
    if public_point(keypair) != b"\x02" + expected:
        keypair.wipe()
        secret.wipe()
        raise SealedHalfError
    return keypair, secret
