"""The signer of mode ``encrypted``: opens the key in this process, for the lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar
from uuid import UUID

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.nostr import nip04, nip44
from keycast.nostr.nip01 import UnsignedEvent
from keys.errors import InvalidOperand, KeyDamaged, OpenKeyExpired
from keys.refs import Capabilities, KeyRef, SecretPurpose
from keys.signing.ciphers import Cipher, cipher_of
from keys.signing.cosigning.messages import AskedUse
from keys.signing.envelope import SealingContext
from keys.signing.opened_key import OpenKey
from keys.signing.vault import OpenKeyVault

T = TypeVar("T")

CAPABILITIES: Final = Capabilities(
    name="Encrypted",
    sign=True,
    ecdh=True,
    imports=True,
    sentences=(
        "Signs valid Nostr events, and reads and writes encrypted messages (NIP-04, NIP-44).",
        "An existing key (nsec) can be imported.",
        "At rest the key is sealed with AES-256-GCM under a key-encryption key.",
        "While it signs, and for a short lease after that, the key is open in the signer's memory.",
    ),
)


class LocalSigner:
    """A Signer (keys.signing.protocol). Never suspends while the key is open or its key-encryption key is local."""

    def __init__(self, vault: OpenKeyVault[OpenKey]) -> None:
        self._vault = vault

    def capabilities(self, key: KeyRef) -> Capabilities:
        return CAPABILITIES

    async def sign_event_id(
        self, key: KeyRef, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None = None
    ) -> bytes:
        # Unchecked here because SigningService verifies what every signer returns, exactly once.
        return await self._use(key, lambda opened: opened.keypair.sign_unchecked(event_id))

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        cipher = cipher_of(method)
        return await self._use(key, lambda opened: _applied(cipher, opened, peer, text))

    def forget(self, key_id: UUID) -> None:
        self._vault.forget(key_id)

    def forget_all(self) -> None:
        self._vault.forget_all()

    async def _use(self, key: KeyRef, operation: Callable[[OpenKey], T]) -> T:
        opened = self._vault.cached(key.key_id, key.tenant_id, key.public_key)
        if opened is not None:
            try:
                return _translated(opened, operation)
            except OpenKeyExpired:
                pass  # the lease ended between the look and the use: open it again
        if key.sealed is None:
            raise KeyDamaged
        opened = await self._vault.open(key.sealed, sealing_context_of(key))
        try:
            return _translated(opened, operation)
        finally:
            if not opened.is_kept:
                opened.wipe()


def sealing_context_of(key: KeyRef) -> SealingContext:
    """Where a personal key's secret belongs."""
    return SealingContext(key.tenant_id, key.key_id, key.public_key, SecretPurpose.PERSONAL_KEY)


def _applied(cipher: Cipher, opened: OpenKey, peer: str, text: str) -> str:
    if cipher.has_conversation_key:
        return cipher.apply(text, opened.conversation_key(peer))
    with opened.shared_key(peer) as shared:
        return cipher.apply(text, shared)


def _translated(opened: OpenKey, operation: Callable[[OpenKey], T]) -> T:
    """Run it; every cause that lies in the operands becomes one error without detail."""
    try:
        return operation(opened)
    except SecretWiped:
        raise OpenKeyExpired from None
    except (CryptoError, nip44.Nip44Error, nip04.Nip04Error):
        raise InvalidOperand from None
