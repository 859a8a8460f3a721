"""The co-signer uses a half: for one signature, or for its part of one joint secret."""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from typing import Final

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.crypto import musig, split
from keycast.crypto.musig import MusigSession
from keycast.crypto.schnorr import Keypair, is_public_key
from keycast.nostr.nip01 import EventError, id_bytes
from keys.cosigner.apps import AppHandler
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository, wipe_unless_kept
from keys.cosigner.records import CosignerHalf
from keys.cosigner.store import CosignerRefusalError
from keys.signing.cosigning import messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode

logger = logging.getLogger(__name__)
_NONCE_TAG: Final = sha256(b"keycast/cosigner/nonce/1").digest() * 2


class KeyUseHandler:
    """Looks at the key again after each wait for the disk: what was stopped meanwhile is not used."""

    def __init__(self, repository: CosignerKeyRepository, apps: AppHandler) -> None:
        self._repository, self._apps = repository, apps
        # Not from zero: a process that is started again does not count the same again.
        self._signatures = time.time_ns()

    async def sign(self, request: messages.PartialSignatureRequest, peer: str) -> AnyReply:
        """The event is what its id says, an app asked for it, and the HSM has signed for it, for this one use."""
        record = await self._repository.in_use(request)
        half = record.usable(request.half_a)
        event_id = _event_id(request.event)
        if event_id != request.event_id or request.event.pubkey != record.public_key.hex():
            raise CosignerRefusalError(RefusalCode.WRONG_EVENT)
        musig.checked_nonce(request.nonce_a)
        asked = await self._apps.checked(record, request.asked, event=request.event)
        # On disk before the half is used: a crash leaves a row without a signature, never the other way round.
        note = CosignerAuditEntry(
            CosignerAuditTag.SIGNED,
            AuditOutcome.OK,
            peer,
            record.key_id.hex,
            event_id.hex(),
            data={"kind": request.event.kind, **asked},
        )
        digest = self._repository.use_up(record, AuthorisationPurpose.SIGN, event_id, request.grant)
        await self._repository.record(note)
        # Looked at again: the key may have been stopped, or the half replaced, while the disk was waited for.
        half = (await self._repository.in_use(request)).usable(request.half_a)
        crash.point("b-before-sign")
        keypair, kept = await self._repository.open(half)
        try:
            public, partial = self._signed(keypair, half, request.nonce_a, event_id, digest)
        finally:
            wipe_unless_kept(keypair, kept)
        crash.point("b-after-sign")
        return messages.PartialSignatureReply(request.number, public, partial)

    def _signed(
        self, keypair: Keypair, half: CosignerHalf, nonce_a: bytes, event_id: bytes, authorised: bytes
    ) -> tuple[bytes, bytes]:
        """A public nonce and the part that it makes, verified. Raises Refusal, CryptoError."""
        # Fresh for every attempt and never kept: two signatures with one nonce would give the half away (BIP-327). Were
        # the randomness ever the same, then another nonce of A's, another authorisation or the count makes another one.
        self._signatures += 1
        parts = (_NONCE_TAG, authorised, nonce_a, self._signatures.to_bytes(8, "big"))
        nonce, public = musig.make_nonce(keypair, half.aggregate, event_id, sha256(b"".join(parts)).digest())
        session = MusigSession(half.aggregate, nonce_a, public, event_id)
        partial = musig.partial_sign(nonce, session)
        # A part that a fault has spoiled can give the half away to who knows the right one.
        if not musig.verify_partial(session, "B", partial):
            logger.critical("a partial signature failed its own verification: faulty memory or hardware")
            raise CosignerRefusalError(RefusalCode.SELF_CHECK_FAILED)
        return public, partial

    async def ecdh(self, request: messages.EcdhRequest, peer: str) -> AnyReply:
        """The HSM has signed for this key and this peer, and an app asked for it."""
        record = await self._repository.in_use(request)
        # Before the authorisation is used up: a half that is not in use any more must not cost one.
        record.usable(request.half_a)
        if not is_public_key(request.peer):
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        asked = await self._apps.checked(record, request.asked, peer=request.peer)
        named = {"peer": request.peer.hex(), **asked}
        note = CosignerAuditEntry(CosignerAuditTag.CONTRIBUTED, AuditOutcome.OK, peer, record.key_id.hex, data=named)
        self._repository.use_up(record, AuthorisationPurpose.ECDH, request.peer, request.grant)
        await self._repository.record(note)
        half = (await self._repository.in_use(request)).usable(request.half_a)
        keypair, kept = await self._repository.open(half)
        try:
            with split.ecdh_contribution(keypair, half.aggregate, "B", request.peer) as point:
                return messages.EcdhReply(request.number, bytes(point.view()))
        finally:
            wipe_unless_kept(keypair, kept)


def _event_id(event: messages.EventBody) -> bytes:
    try:
        return id_bytes(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    except EventError:
        raise CosignerRefusalError(RefusalCode.MALFORMED) from None
