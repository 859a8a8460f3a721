"""The co-signer draws a fresh half under the same public key (keys.split.refresh tells both sides' steps)."""

from __future__ import annotations

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.crypto import split
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import even_half
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository, wipe_unless_kept
from keys.cosigner.records import CosignerHalf, CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode


class RefreshHandler:
    """One renewal at a time for a key, and none while its authoriser changes."""

    def __init__(self, repository: CosignerKeyRepository) -> None:
        self._repository = repository

    async def prepare(self, request: messages.PrepareRefreshRequest, peer: str) -> AnyReply:
        """A new half beside a new half A, and the difference it makes."""
        record = await self._repository.in_use(request)
        old = record.current
        if request.half_a != old.half_a or request.new_half_a == old.half_a:
            raise CosignerRefusalError(RefusalCode.STALE_HALF)
        # One change of a key at a time.
        if record.coming_authoriser is not None:
            raise CosignerRefusalError(RefusalCode.BUSY)
        note = CosignerAuditEntry(CosignerAuditTag.REFRESH_PREPARED, AuditOutcome.OK, peer, record.key_id.hex)
        # Used up before anything is drawn: with one authorisation nobody gets two differences.
        self._repository.use_up(record, AuthorisationPurpose.REFRESH, request.new_half_a, request.grant)
        await self._repository.record(note)
        record = await self._repository.in_use(request)
        # Looked at again: recording waited for the disk, and another refresh may have ended meanwhile.
        if record.current.half_a != old.half_a:
            raise CosignerRefusalError(RefusalCode.STALE_HALF)
        coming = record.coming
        if coming is None or coming.half_a != request.new_half_a:
            if coming is not None and coming.status == records.READY:
                raise CosignerRefusalError(RefusalCode.STALE_HALF)  # signer A may use it already
            coming = await self._drawn(record, request, note)
        crash.point("b-prepared")
        return await self._difference(request, old, coming)

    async def commit(self, request: messages.CommitRefreshRequest, peer: str) -> AnyReply:
        """Old and new halves sign from now on."""
        record = await self._repository.known(request)
        coming = record.coming
        # Done already; only the reply was lost.
        if record.current.half_a == request.new_half_a and record.current.tweak == request.tweak:
            return messages.CosignerDoneReply(request.number)
        if coming is None or coming.half_a != request.new_half_a:
            raise CosignerRefusalError(RefusalCode.STALE_HALF)
        # Before anything is stored: with a wrong tweak both halves would sign for another public key, and this one
        # would be lost.
        made = KeyAggregate(b"\x02" + coming.half_a, b"\x02" + coming.half_b, request.tweak)
        if made.public_key != record.public_key:
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        if coming.status == records.PREPARED:
            now = authorisation.now()
            note = CosignerAuditEntry(CosignerAuditTag.REFRESH_COMMITTED, AuditOutcome.OK, peer, record.key_id.hex)
            await self._repository.change(
                record, note, lambda w: records.make_ready(w, record.key_id, request.new_half_a, request.tweak, now)
            )
        crash.point("b-committed")
        return messages.CosignerDoneReply(request.number)

    async def finish(self, request: messages.FinishRefreshRequest, peer: str) -> AnyReply:
        """The old half is destroyed."""
        record = await self._repository.known(request)
        coming = record.coming
        if record.current.half_a != request.new_half_a:
            if coming is None or coming.half_a != request.new_half_a or coming.status != records.READY:
                raise CosignerRefusalError(RefusalCode.STALE_HALF)
            note = CosignerAuditEntry(CosignerAuditTag.REFRESH_FINISHED, AuditOutcome.OK, peer, record.key_id.hex)
            await self._repository.change(
                record, note, lambda w: records.make_current(w, record.key_id, request.new_half_a)
            )
        crash.point("b-finished")
        return messages.CosignerDoneReply(request.number)

    async def _drawn(
        self, record: CosignerKeyRecord, request: messages.PrepareRefreshRequest, note: CosignerAuditEntry
    ) -> CosignerHalf:
        """A new half for a new half A. Never the same for two: two differences of one half would tell the old one."""
        keypair, secret = even_half()
        with keypair, secret:
            half = self._repository.sealed(
                request, request.new_half_a, keypair.public_key, secret, records.PREPARED, None
            )

        def change(writing: StoreTransaction) -> None:
            records.drop_prepared(writing, record.key_id)
            records.add_half(writing, half)

        await self._repository.change(record, note, change)
        return half

    async def _difference(
        self, request: messages.PrepareRefreshRequest, old: CosignerHalf, new: CosignerHalf
    ) -> AnyReply:
        # The tweak is what the two differences are for: it is not known until both sides have theirs.
        untweaked = KeyAggregate(b"\x02" + new.half_a, b"\x02" + new.half_b)
        old_pair, old_kept = await self._repository.open(old)
        new_pair, new_kept = await self._repository.open(new)
        try:
            with split.refresh_difference(old_pair, old.aggregate, new_pair, untweaked, "B") as difference:
                return messages.PrepareRefreshReply(request.number, new.half_b, bytes(difference.view()))
        finally:
            wipe_unless_kept(old_pair, old_kept)
            wipe_unless_kept(new_pair, new_kept)
