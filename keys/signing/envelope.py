"""Envelope encryption of one secret: a fresh data key per row, wrapped by a key-encryption key.

Layout of a blob, version 1::

    0x01 ‖ length of the wrapped data key (2 bytes, big-endian) ‖ wrapped data key ‖ sealed secret

The sealed secret is AES-256-GCM (keycast.crypto.aead) under the data key. Both layers are bound to the same place
(``SealingContext.binding``), so a blob moved to another row, tenant or purpose, or beside another public key, does not
open. Re-wrapping under another key-encryption key touches the outer layer alone and never sees the secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keycast.crypto import aead
from keycast.crypto.secret import SecretBytes
from keycast.nostr.types import is_hex
from keys.errors import KeyDamaged
from keys.refs import SealedSecret, SecretPurpose
from keys.signing.kms.protocol import KekProvider

VERSION: Final = 1
SECRET_SIZE: Final = 32
MAX_BLOB: Final = 8192
_HEADER: Final = 3
_DOMAIN: Final = b"keycast/envelope/1\x00"
_NO_PARENT: Final = bytes(16)


@dataclass(frozen=True, slots=True)
class SealingContext:
    """Where a sealed secret belongs: its row, tenant, purpose and public key (64 hex digits).

    ``parent_id`` is the personal key that a transport key or a half serves; None for a personal key itself.
    """

    tenant_id: UUID
    row_id: UUID
    public_key: str
    purpose: SecretPurpose
    parent_id: UUID | None = None

    def binding(self) -> bytes:
        """The associated data: every field at a fixed offset but the last."""
        parent = self.parent_id.bytes if self.parent_id else _NO_PARENT
        if not is_hex(self.public_key, 32):
            raise KeyDamaged
        public_key = bytes.fromhex(self.public_key)
        return _DOMAIN + self.tenant_id.bytes + self.row_id.bytes + parent + public_key + self.purpose.value.encode()


def seal(secret: SecretBytes, place: SealingContext, provider: KekProvider) -> SealedSecret:
    """Seal ``secret`` for ``place`` under the provider's current key. Raises KekUnavailable."""
    binding = place.binding()
    with SecretBytes.random(aead.KEY_SIZE) as data_key:
        wrapped = provider.wrap(data_key, tenant_id=place.tenant_id, aad=binding)
        sealed = aead.seal(data_key, secret, binding)
    return SealedSecret(provider.name, wrapped.kek_version, _pack(wrapped.blob, sealed))


def unseal(sealed: SealedSecret, place: SealingContext, provider: KekProvider) -> SecretBytes:
    """The secret; the caller wipes it and checks that it belongs to ``place.public_key``.

    Raises KeyDamaged when anything at all was altered or moved, KekUnavailable when the key-encryption key is away.
    """
    wrapped, inner = _unpack(sealed.blob)
    binding = place.binding()
    data_key = provider.unwrap(wrapped, kek_version=sealed.kek_version, tenant_id=place.tenant_id, aad=binding)
    with data_key:
        # The provider may be another service: what it returns is looked at before it is used.
        if len(data_key) != aead.KEY_SIZE:
            raise KeyDamaged
        try:
            return aead.open_into(data_key, inner, binding)
        except aead.AeadError:
            raise KeyDamaged from None


def rewrap(sealed: SealedSecret, place: SealingContext, old: KekProvider, new: KekProvider) -> SealedSecret:
    """The same secret under ``new``'s current key-encryption key, without opening the secret itself."""
    wrapped, inner = _unpack(sealed.blob)
    binding = place.binding()
    with old.unwrap(wrapped, kek_version=sealed.kek_version, tenant_id=place.tenant_id, aad=binding) as data_key:
        again = new.wrap(data_key, tenant_id=place.tenant_id, aad=binding)
    return SealedSecret(new.name, again.kek_version, _pack(again.blob, inner))


def _pack(wrapped: bytes, inner: bytes) -> bytes:
    return bytes([VERSION]) + len(wrapped).to_bytes(2, "big") + wrapped + inner


def _unpack(blob: bytes) -> tuple[bytes, bytes]:
    if not _HEADER < len(blob) <= MAX_BLOB or blob[0] != VERSION:
        raise KeyDamaged
    end = _HEADER + int.from_bytes(blob[1:_HEADER], "big")
    if end >= len(blob):
        raise KeyDamaged
    return blob[_HEADER:end], blob[end:]
