"""Open remote-signer keys: what the bunker speaks NIP-46 with."""

from __future__ import annotations

from uuid import UUID

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.nostr import nip04, nip44
from keys.errors import InvalidOperand, KeyDamaged, OpenKeyExpired
from keys.refs import SecretPurpose, TransportRef
from keys.signing.envelope import SealingContext
from keys.signing.opened_key import OpenKey
from keys.signing.protocol import DamageReport
from keys.signing.vault import OpenKeyVault

MAX_REQUEST = 704 * 1024
"""Bytes of plaintext that are read of a request: more than we would process, so that the client hears an error."""


class OpenTransportKey(OpenKey):
    """An OpenTransportKeyRequest (keys.signing.protocol)."""

    __slots__ = ()

    def decrypt(self, peer: str, payload: str) -> str:
        """The plaintext of a NIP-44 payload from ``peer``. Raises InvalidOperand, OpenKeyExpired."""
        try:
            return nip44.decrypt(payload, self.conversation_key(peer), MAX_REQUEST)
        except SecretWiped:
            raise OpenKeyExpired from None
        except (CryptoError, nip44.Nip44Error):
            raise InvalidOperand from None

    def decrypt_nip04(self, peer: str, payload: str) -> str:
        """The plaintext of a NIP-04 payload from ``peer``. Raises InvalidOperand, OpenKeyExpired."""
        try:
            with self.shared_key(peer) as key:
                return nip04.decrypt(payload, key)
        except SecretWiped:
            raise OpenKeyExpired from None
        except (CryptoError, nip04.Nip04Error):
            raise InvalidOperand from None

    def conversation_with(self, peer: str) -> bytes:
        """A copy of the conversation key, for the caller to wipe. Raises InvalidOperand, OpenKeyExpired."""
        try:
            key = self.conversation_key(peer)  # held: one that is not kept wipes itself when nobody does
            return bytes(key.view())
        except SecretWiped:
            raise OpenKeyExpired from None
        except CryptoError:
            raise InvalidOperand from None

    def encrypt(self, peer: str, plaintext: str) -> str:
        """A NIP-44 payload for ``peer``. Raises InvalidOperand, OpenKeyExpired."""
        try:
            return nip44.encrypt(plaintext, self.conversation_key(peer))
        except SecretWiped:
            raise OpenKeyExpired from None
        except (CryptoError, nip44.Nip44Error):
            raise InvalidOperand from None

    def sign(self, event_id: bytes) -> bytes:
        """A BIP-340 signature for a kind 24133 event. Raises InvalidOperand, OpenKeyExpired."""
        try:
            return self.keypair.sign_unchecked(event_id)
        except SecretWiped:
            raise OpenKeyExpired from None
        except CryptoError:
            raise InvalidOperand from None


class TransportService:
    """A TransportOpener (keys.signing.protocol) over keys sealed for this process."""

    def __init__(self, vault: OpenKeyVault[OpenTransportKey], report: DamageReport) -> None:
        self._vault = vault
        self._report = report

    async def open(self, ref: TransportRef) -> OpenTransportKey:
        """The open key. Raises KeyDamaged, KekUnavailable."""
        opened = self._vault.cached(ref.transport_id, ref.tenant_id, ref.public_key)
        if opened is not None:
            return opened
        try:
            return await self._vault.open(ref.sealed, sealing_context_of(ref))
        except KeyDamaged as damage:
            await self._report(ref.key_id, damage)
            raise

    def forget(self, transport_id: UUID) -> None:
        """Wipe one key now."""
        self._vault.forget(transport_id)

    def forget_all(self) -> None:
        """Wipe every key now."""
        self._vault.forget_all()


def sealing_context_of(ref: TransportRef) -> SealingContext:
    """Where a transport key's secret belongs."""
    return SealingContext(ref.tenant_id, ref.transport_id, ref.public_key, SecretPurpose.TRANSPORT_KEY, ref.key_id)
