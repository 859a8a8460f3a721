"""The co-signer takes keys on, and stops them (keys.cosigner.forgetting: how they end)."""

from __future__ import annotations

from typing import Final

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import even_half, public_point
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.records import CosignerHalf, CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode

_REPLACEABLE: Final = frozenset({records.PENDING, records.DISABLED, records.FORGETTING, records.FORGOTTEN})


class KeyLifecycleHandler:
    """Each request may be repeated: a lost reply leaves no second half, and no key half-stopped."""

    def __init__(self, repository: CosignerKeyRepository) -> None:
        self._repository = repository

    async def create(self, request: messages.CreateHalfRequest, peer: str) -> AnyReply:
        """Draw a half."""
        known = await self._repository.find(request)
        # A lost reply, asked for again: a second half would be another key.
        if known is not None:
            return messages.HalfReply(request.number, _same(known, request.half_a).half_b)
        keypair, secret = even_half()
        with keypair, secret:
            half = self._repository.sealed(request, request.half_a, keypair.public_key, secret, records.CURRENT, None)
        await self._add(half, half.aggregate.public_key, CosignerAuditTag.CREATED, peer)
        crash.point("b-created")
        return messages.HalfReply(request.number, half.half_b)

    async def adopt(self, request: messages.ImportHalfRequest, peer: str) -> AnyReply:
        """Keep a half that was drawn elsewhere.

        Also in place of one that never came into use, is disabled, or was given up: who can make halves of a known
        public key has that key whole, and could gain nothing by it.
        """
        with SecretBytes.adopt_bytes(request.secret) as secret:
            return await self.take(request, secret, peer)

    async def take(
        self, request: messages.ImportHalfRequest | messages.ImportSealedHalfRequest, secret: SecretBytes, peer: str
    ) -> AnyReply:
        """Keep an opened half, which stays the caller's to wipe."""
        with Keypair.from_secret(secret) as keypair:
            half_b = keypair.public_key
            aggregate = KeyAggregate(b"\x02" + request.half_a, public_point(keypair), request.tweak)
            # Halves are named by 32 bytes, so their points have an even Y (decision 23); and together they must be the
            # key that was said.
            if aggregate.keys["B"][0] != 2 or aggregate.public_key != request.public_key:
                raise CosignerRefusalError(RefusalCode.MALFORMED)
            known = await self._repository.find(request)
            if known is not None and _is_kept(known, request, half_b):
                return messages.HalfReply(request.number, half_b)
            half = self._repository.sealed(request, request.half_a, half_b, secret, records.CURRENT, request.tweak)
        if known is None:
            await self._add(half, request.public_key, CosignerAuditTag.ADOPTED, peer)
        else:
            note = CosignerAuditEntry(
                CosignerAuditTag.ADOPTED,
                AuditOutcome.OK,
                peer,
                half.key_id.hex,
                data={"public_key": request.public_key.hex()},
            )
            await self._repository.change(known, note, lambda writing: records.replace_unused(writing, half))
        crash.point("b-adopted")
        return messages.HalfReply(request.number, half_b)

    async def state(self, request: messages.KeyStateRequest, peer: str) -> AnyReply:
        """How the key is."""
        record = await self._repository.find(request)
        if record is None:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        return messages.KeyStateReply(request.number, record.state)

    async def stop(self, request: messages.StopKeyRequest, peer: str) -> AnyReply:
        """Refuse all use; needs no authorisation, because it is safe."""
        record = await self._repository.known(request)
        if request.state not in {records.LOCKED, records.DISABLED}:
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        # A key that is to be forgotten is stopped already, and stays to be forgotten.
        if record.state not in {request.state, records.FORGETTING}:
            note = CosignerAuditEntry(
                CosignerAuditTag.STOPPED, AuditOutcome.OK, peer, record.key_id.hex, data={"state": request.state}
            )
            await self._repository.change(record, note, lambda w: records.set_state(w, record.key_id, request.state))
        return messages.CosignerDoneReply(request.number)

    async def enable(self, request: messages.EnableKeyRequest, peer: str) -> AnyReply:
        """Serve a key again that was stopped."""
        record = await self._repository.known(request)
        if record.authoriser is None or record.state == records.FORGETTING:
            raise CosignerRefusalError(RefusalCode.KEY_UNAVAILABLE)
        self._repository.use_up(record, AuthorisationPurpose.ENABLE, record.public_key, request.grant)
        note = CosignerAuditEntry(CosignerAuditTag.ENABLED, AuditOutcome.OK, peer, record.key_id.hex)
        await self._repository.change(record, note, lambda w: records.set_state(w, record.key_id, records.ACTIVE))
        return messages.CosignerDoneReply(request.number)

    async def _add(self, half: CosignerHalf, public_key: bytes, tag: CosignerAuditTag, peer: str) -> None:
        note = CosignerAuditEntry(tag, AuditOutcome.OK, peer, half.key_id.hex, data={"public_key": public_key.hex()})

        def work(writing: StoreTransaction) -> CosignerKeyRecord | None:
            records.add_key(writing, half, public_key, authorisation.now())
            writing.note(note)
            return records.load(writing, half.key_id)

        self._repository.keep(await self._repository.store.write(work))


def _same(record: CosignerKeyRecord, half_a: bytes) -> CosignerHalf:
    """A creation repeated because its reply was lost. Raises Refusal for anything else under a known id."""
    half = record.halves.get(half_a)
    if record.state != records.PENDING or half is None or half.status != records.CURRENT:
        raise CosignerRefusalError(RefusalCode.KEY_EXISTS)
    return half


def _is_kept(
    record: CosignerKeyRecord, request: messages.ImportHalfRequest | messages.ImportSealedHalfRequest, half_b: bytes
) -> bool:
    """Whether this very half is here; False when it may be taken in place of what is. Raises Refusal."""
    half = record.halves.get(request.half_a)
    if half is not None and (half.half_b, half.tweak, half.status) == (half_b, request.tweak, records.CURRENT):
        return True
    if record.public_key != request.public_key or record.state not in _REPLACEABLE:
        raise CosignerRefusalError(RefusalCode.KEY_EXISTS)
    return False
