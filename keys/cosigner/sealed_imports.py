"""Half B of an imported key as the owner's browser sealed it: signer A carries it, and cannot open it.

The encryption key lives in this process alone, from its start to its end: it is in no file and no backup, and what was
sealed to it is worth nothing afterwards. Its fingerprint is in the log's row of the start.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from uuid import UUID

from keys.cosigner.key_lifecycle import KeyLifecycleHandler
from keys.cosigner.store import CosignerRefusalError
from keys.signing import sealed_halves
from keys.signing.cosigning import messages
from keys.signing.cosigning.messages import AnyReply, RefusalCode
from keys.signing.sealed_halves import HalfRole, SplitStatement

MAX_OPENED: Final = 100_000
"""Sealed halves that are remembered, some 10 MB: beyond it the co-signer has to be started again."""


class SealedImportHandler:
    """Used from one event loop."""

    def __init__(self, life: KeyLifecycleHandler) -> None:
        self._life, self._opened = life, set[bytes]()
        self._private = sealed_halves.fresh_key()
        self.public = sealed_halves.public_of(self._private)

    async def which(self, request: messages.EncryptionKeyRequest, peer: str) -> AnyReply:
        """The key that a browser seals half B to."""
        return messages.EncryptionKeyReply(request.number, self.public)

    async def adopt(self, request: messages.ImportSealedHalfRequest, peer: str) -> AnyReply:
        """Keep a sealed half, once. Raises Refusal unless it is this key's, this page's and the co-signer's."""
        said = SplitStatement(
            UUID(bytes=request.tenant),
            UUID(bytes=request.key),
            request.token,
            request.public_key,
            request.half_a,
            request.half_b,
            request.tweak,
        )
        keypair, secret = sealed_halves.open_half(request.sealed, self._private, said, HalfRole.COSIGNER)
        with keypair, secret:
            self._use_up(request.sealed)
            return await self._life.take(request, secret, peer)

    def _use_up(self, sealed: bytes) -> None:
        # HPKE's encapsulated key is drawn afresh for each message, so it names the message.
        named = sha256(sealed[: sealed_halves.PUBLIC_SIZE]).digest()
        if named in self._opened:
            raise CosignerRefusalError(RefusalCode.REPLAYED)
        if len(self._opened) >= MAX_OPENED:
            raise CosignerRefusalError(RefusalCode.BUSY)
        self._opened.add(named)
