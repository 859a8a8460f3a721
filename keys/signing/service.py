"""The one signing service: relay, HTTP and portal all come through here, whatever the key's mode."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from keycast.crypto import schnorr
from keycast.nostr.nip01 import Event, EventError, UnsignedEvent, id_of
from keys.errors import InvalidOperand, KeyDamaged, KeyModeUnavailable, SignatureRefused
from keys.refs import Capabilities, KeyRef
from keys.signing.cosigning.messages import AskedUse
from keys.signing.protocol import DamageReport, Signer

logger = logging.getLogger(__name__)


class SigningService:
    """Dispatches to the signer of a key's mode and HSM provider, and releases only what verifies under BIP-340.

    No call queries the database, blocks, or suspends while the key is open or its key-encryption key local.
    Whether the key may be used (its state, the connection's policy) is the caller's business and comes first.
    All calls raise keys.errors; see keys.signing.protocol.Signer.
    """

    def __init__(self, signers: Mapping[tuple[str, str], Signer], report: DamageReport) -> None:
        self._signers = dict(signers)
        self._report = report

    @property
    def served(self) -> tuple[tuple[str, str], ...]:
        """The key modes and HSM providers that it has signers for."""
        return tuple(self._signers)

    def capabilities(self, key: KeyRef) -> Capabilities:
        """What this key can do."""
        return self._signer(key).capabilities(key)

    async def sign_event(self, key: KeyRef, event: UnsignedEvent, asked: AskedUse | None = None) -> Event:
        """The signed event: id computed here, signature verified here, once, whatever the signer.

        ``asked`` is the app's own request, where one asked and the key is split.
        """
        if event.pubkey != key.public_key:
            raise InvalidOperand
        digest = _digest(event)
        try:
            signature = await self._signer(key).sign_event_id(key, event, digest, asked)
        except KeyDamaged as damage:
            await self._report(key.key_id, damage)
            raise
        self._check(key, digest, signature)
        return event.signed(digest.hex(), signature)

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        """What ``method`` (nip46.CRYPT_METHODS) makes of ``text`` between the user and ``peer`` (64 hex digits).

        ``client`` is the app's public key, where there is one; ``asked`` as in ``sign_event``.
        """
        try:
            return await self._signer(key).crypt(key, method, peer, text, client, asked)
        except KeyDamaged as damage:
            await self._report(key.key_id, damage)
            raise

    def forget(self, key_id: UUID) -> None:
        """Wipe whatever any signer keeps open for this key; call it when a key is locked, disabled or destroyed."""
        for signer in set(self._signers.values()):
            signer.forget(key_id)

    def forget_all(self) -> None:
        """Wipe everything any signer keeps open."""
        for signer in set(self._signers.values()):
            signer.forget_all()

    def _signer(self, key: KeyRef) -> Signer:
        signer = self._signers.get((key.key_mode, key.hsm_provider))
        if signer is None:
            raise KeyModeUnavailable
        return signer

    def _check(self, key: KeyRef, digest: bytes, signature: bytes) -> None:
        if len(signature) == 64 and schnorr.verify(bytes.fromhex(key.public_key), digest, signature):
            return
        self.forget(key.key_id)
        logger.error("refused a signature that does not verify under BIP-340", extra={"key_id": str(key.key_id)})
        raise SignatureRefused


def _digest(event: UnsignedEvent) -> bytes:
    try:
        return id_of(event)
    except EventError:
        raise InvalidOperand from None
