"""Signer A's half of a split key: how its row keeps it sealed, and what it is while it is open.

``PersonalKey.encrypted_half_key`` is::

    0x01 ‖ public half A (32 bytes, x-only) ‖ length of the provider's name (1 byte) ‖ name ‖ envelope

where the provider is the key-encryption key's, and the envelope is keys.signing.envelope's. The public half is bound
into the envelope; ``PersonalKey.cosigner_public_key`` is the public half B (x-only, in hex). Both halves have points of
even Y. What the halves and the tweak make together must be the row's public key.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KeyDamaged, KeyMismatch
from keys.refs import KeyRef, SealedSecret, SecretPurpose
from keys.signing import envelope
from keys.signing.envelope import SealingContext
from keys.signing.kms.protocol import KekProvider
from keys.signing.opened_key import OpenKey

VERSION: Final = 1
_NAME_AT: Final = 34


@dataclass(frozen=True, slots=True)
class SealedHalf:
    """A sealed half with its public key (x-only, 32 bytes)."""

    public: bytes
    sealed: SealedSecret

    def pack(self) -> bytes:
        """As the row keeps it; the key-encryption key's version has its own column."""
        name = self.sealed.provider.encode()
        return bytes([VERSION]) + self.public + bytes([len(name)]) + name + self.sealed.blob

    @classmethod
    def unpack(cls, stored: bytes | memoryview | None, kek_version: str) -> SealedHalf:
        """From the row's two columns. Raises KeyDamaged, also for None."""
        blob = bytes(stored or b"")
        if len(blob) <= _NAME_AT or blob[0] != VERSION or len(blob) <= (end := _NAME_AT + blob[_NAME_AT - 1]):
            raise KeyDamaged
        try:
            name = blob[_NAME_AT:end].decode("ascii")
        except UnicodeDecodeError:
            raise KeyDamaged from None
        return cls(blob[1 : _NAME_AT - 1], SealedSecret(name, kek_version, blob[end:]))

    def place(self, tenant_id: UUID, key_id: UUID) -> SealingContext:
        """Where it belongs."""
        return sealing_context_of(self.public, tenant_id, key_id)


def sealing_context_of(public: bytes, tenant_id: UUID, key_id: UUID) -> SealingContext:
    """Where the half with this public key belongs: named by it, so that old and new halves can be open side by side."""
    return SealingContext(tenant_id, UUID(bytes=public[:16]), public.hex(), SecretPurpose.SIGNER_HALF, key_id)


def half_in_transit_context(public: bytes, tenant_id: UUID, key_id: UUID) -> SealingContext:
    """Where half B of a key being split belongs while signer A still has it, on its way to the co-signer."""
    return SealingContext(tenant_id, UUID(bytes=public[:16]), public.hex(), SecretPurpose.PARTING_HALF, key_id)


def seal_half(keypair: Keypair, secret: SecretBytes, tenant_id: UUID, key_id: UUID, kek: KekProvider) -> SealedHalf:
    """Seal a half for its row. Raises KekUnavailable."""
    public = keypair.public_key
    return SealedHalf(public, envelope.seal(secret, sealing_context_of(public, tenant_id, key_id), kek))


def half_of(key: KeyRef) -> SealedHalf:
    """Signer A's sealed half. Raises KeyDamaged for a key that has none."""
    if key.sealed is None or key.hsm is None:
        raise KeyDamaged
    return SealedHalf.unpack(key.sealed.blob, key.sealed.kek_version)


def aggregate_of(public_a: bytes, cosigner: str, tweak: str, public_key: str) -> KeyAggregate:
    """What the halves make together; KeyMismatch unless it is this public key (64 hex digits)."""
    try:
        even_b = b"\x02" + bytes.fromhex(cosigner)
        aggregate = KeyAggregate(b"\x02" + public_a, even_b, bytes.fromhex(tweak) if tweak else None)
    except (CryptoError, ValueError):
        raise KeyDamaged from None
    if aggregate.public_key.hex() != public_key:
        raise KeyMismatch
    return aggregate


class OpenHalf(OpenKey):
    """An open half A and the joint secrets that were computed with it, wiped together.

    ``public_key`` is the half's own. A joint secret is the x coordinate that NIP-04 and NIP-44 start from, by peer.
    """

    __slots__ = ("aggregates",)

    def __init__(self, keypair: Keypair, tenant_id: UUID, conversations_kept: int) -> None:
        super().__init__(keypair, tenant_id, conversations_kept)
        self.aggregates: dict[tuple[str, str, str], KeyAggregate] = {}

    def aggregate(self, key: KeyRef) -> KeyAggregate:
        """The aggregate for this row, computed once. Raises KeyDamaged, KeyMismatch."""
        assert key.hsm is not None  # noqa: S101 -- half_of refused such a key
        named = (key.hsm.cosigner_public_key, key.hsm.tweak, key.public_key)
        known = self.aggregates.get(named)
        if known is None:
            known = self.aggregates[named] = aggregate_of(self.keypair.public_key, *named)
        return known

    def joint(self, peer: str) -> SecretBytes | None:
        """The kept joint secret with ``peer``, if there is one."""
        known = self._conversations.pop(peer, None)
        if known is not None:
            self._conversations[peer] = known
        return known

    def keep(self, peer: str, joint: SecretBytes) -> None:
        """Keep a copy of it for the lease, if there is room. Raises SecretWiped when the lease ended meanwhile."""
        if self.is_kept and peer not in self._conversations and self._make_room():
            self._conversations[peer] = kept = SecretBytes(joint.view())
            if self.keypair.is_wiped:
                self._withdraw(peer, kept)
                raise SecretWiped


def conversation_key(joint: SecretBytes) -> SecretBytes:
    """NIP-44's conversation key from the joint secret (get_conversation_key)."""
    return SecretBytes.adopt_bytes(hmac.digest(b"nip44-v2", joint.view(), "sha256"))
