"""Whose authorisations the co-signer accepts for a key, and how another HSM key takes that one's place.

Signer A, taken over, must not put a key of its own choice there. So a key is accepted only when it is proved to be in
an HSM, and in our key ring (keys.cosigner.candidates); another one than the first only when the present one has signed
for it, too, and not before a day has passed in which the owner and staff may refuse. Both hold then until signer A says
that every process of its knows the new one. For an HSM key that is lost there is ``manage.py cosigner
--replace-authoriser``, on this machine alone (keys.cosigner.rescue).
"""

from __future__ import annotations

import logging

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.crypto import authoriser_keys
from keys.cosigner import candidates, records
from keys.cosigner.attestation.statement import UnprovenError
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.candidates import AuthoriserPolicy, Candidate, CandidateStatus, ProvedBy
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.records import CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode

logger = logging.getLogger(__name__)


class AuthoriserHandler:
    """Each request may be repeated."""

    def __init__(self, repository: CosignerKeyRepository, policy: AuthoriserPolicy) -> None:
        self._repository, self._policy = repository, policy

    async def register(self, request: messages.RegisterAuthoriserRequest, peer: str) -> AnyReply:
        """The first authoriser of a key; from then on it signs."""
        record = await self._repository.known(request)
        # The first one stays: whoever controls signer A must not put an HSM key of their own there afterwards.
        if record.authoriser is not None and record.authoriser != request.authoriser:
            raise CosignerRefusalError(RefusalCode.KEY_EXISTS)
        if record.authoriser is None:
            candidate = await self._proved(record, request.authoriser, request.proof, is_first=True)
            accepted = candidate.become(CandidateStatus.ACCEPTED, authorisation.now())
            note = _note(CosignerAuditTag.AUTHORISER_REGISTERED, peer, record, accepted, authoriser=request.authoriser)

            def change(writing: StoreTransaction) -> None:
                candidates.keep(writing.execute, record.key_id, accepted)
                records.set_authoriser(writing, record.key_id, request.authoriser)

            await self._repository.change(record, note, change)
        crash.point("b-registered")
        return messages.CosignerDoneReply(request.number)

    async def which(self, request: messages.AuthorisersRequest, peer: str) -> AnyReply:
        """Whose authorisations hold now, and what shows that they are in HSMs: public, and of use to nobody else."""
        record = await self._repository.known(request)
        present = record.authoriser or b""

        def look(writing: StoreTransaction) -> tuple[Candidate | None, Candidate | None]:
            execute, key_id = writing.execute, record.key_id
            return candidates.find(execute, key_id, present), candidates.waiting(execute, key_id)

        found, waits = await self._repository.store.write(look)
        return messages.AuthorisersReply(
            request.number,
            present,
            record.coming_authoriser or b"",
            found.proved_by.value if found else ProvedBy.NOTHING.value,
            waits.public_key if waits else b"",
            self._day_of(waits) if waits else 0,
        )

    async def succeed(self, request: messages.AddAuthoriserRequest, peer: str) -> AnyReply:
        """Accept a successor beside the present authoriser, which has signed for it, when its day has come."""
        record = await self._repository.in_use(request)
        new = request.authoriser
        # Told before; only the reply was lost.
        if new in record.authorisers:
            return messages.CosignerDoneReply(request.number)
        waits = await self._repository.store.write(lambda w: candidates.waiting(w.execute, record.key_id))
        if waits is None:
            waits = await self._announced(record, request, peer)
        elif waits.public_key != new:
            raise CosignerRefusalError(RefusalCode.BUSY)  # one change of a key at a time
        if authorisation.now() < self._day_of(waits):
            return messages.AuthoriserWaitsReply(request.number, self._day_of(waits))
        await self._accept(record, waits, peer)
        crash.point("b-succeeded")
        return messages.CosignerDoneReply(request.number)

    async def refuse(self, request: messages.RefuseAuthoriserRequest, peer: str) -> AnyReply:
        """Never accept this successor. Needs no authorisation, because it is safe; too late once it is accepted."""
        record = await self._repository.known(request)
        refused = request.authoriser
        if refused in record.authorisers:
            raise CosignerRefusalError(RefusalCode.UNAUTHORISED)
        authoriser_keys.require(refused)
        new = Candidate(refused, CandidateStatus.REFUSED, ProvedBy.NOTHING, since=authorisation.now())
        note = _note(CosignerAuditTag.AUTHORISER_REFUSED, peer, record, None, successor=refused)

        def change(writing: StoreTransaction) -> None:
            found = candidates.find(writing.execute, record.key_id, refused)
            if found is None and candidates.count(writing.execute, record.key_id) >= candidates.MOST:
                raise CosignerRefusalError(RefusalCode.BUSY)
            if found is not None:
                candidates.keep(writing.execute, record.key_id, found.become(CandidateStatus.REFUSED, new.since))
            else:
                candidates.keep(writing.execute, record.key_id, new)

        await self._repository.change(record, note, change)
        crash.point("b-refused")
        return messages.CosignerDoneReply(request.number)

    async def settle(self, request: messages.SettleAuthoriserRequest, peer: str) -> AnyReply:
        """Of the two, only this one holds from now on; both were accepted, so this needs no authorisation."""
        record = await self._repository.known(request)
        # So it can only choose among the two that were accepted.
        if request.authoriser not in record.authorisers:
            raise CosignerRefusalError(RefusalCode.UNAUTHORISED)
        if record.coming_authoriser is not None:
            note = _note(CosignerAuditTag.AUTHORISER_SETTLED, peer, record, None, authoriser=request.authoriser)
            await self._repository.change(
                record, note, lambda w: records.settle_authoriser(w, record.key_id, request.authoriser)
            )
        crash.point("b-settled")
        return messages.CosignerDoneReply(request.number)

    async def _announced(
        self, record: CosignerKeyRecord, request: messages.AddAuthoriserRequest, peer: str
    ) -> Candidate:
        """The successor waits from now on: proved, and signed for by the present authoriser."""
        new = request.authoriser
        if record.coming is not None or record.coming_authoriser is not None:
            raise CosignerRefusalError(RefusalCode.BUSY)
        candidate = await self._proved(record, new, request.proof, is_first=False)
        assert record.authoriser is not None  # noqa: S101 -- or it were not in use
        subject = authorisation.succession(record.authoriser, new)
        self._repository.use_up(record, AuthorisationPurpose.SUCCEED, subject, request.grant)
        waits = candidate.become(CandidateStatus.WAITING, authorisation.now())
        points = {"authoriser": record.authoriser, "successor": new}
        note = _note(CosignerAuditTag.AUTHORISER_ANNOUNCED, peer, record, waits, **points)

        def change(writing: StoreTransaction) -> None:
            if candidates.waiting(writing.execute, record.key_id) is not None:
                raise CosignerRefusalError(RefusalCode.BUSY)
            candidates.keep(writing.execute, record.key_id, waits)

        await self._repository.change(record, note, change)
        crash.point("b-announced")
        return waits

    async def _accept(self, record: CosignerKeyRecord, waits: Candidate, peer: str) -> None:
        """Both hold from now on."""
        record = await self._repository.in_use_again(record)
        if record.coming is not None or record.coming_authoriser is not None:
            raise CosignerRefusalError(RefusalCode.BUSY)
        assert record.authoriser is not None  # noqa: S101 -- or it were not in use
        points = {"authoriser": record.authoriser, "successor": waits.public_key}
        note = _note(CosignerAuditTag.AUTHORISER_SUCCEEDED, peer, record, waits, **points)

        def change(writing: StoreTransaction) -> None:
            # Looked at again: it may have been refused while the disk was waited for.
            if candidates.waiting(writing.execute, record.key_id) != waits:
                raise CosignerRefusalError(RefusalCode.REFUSED_BY_OWNER)
            accepted = waits.become(CandidateStatus.ACCEPTED, authorisation.now())
            candidates.keep(writing.execute, record.key_id, accepted)
            records.add_authoriser(writing, record.key_id, waits.public_key)

        await self._repository.change(record, note, change)

    async def _proved(
        self, record: CosignerKeyRecord, public_key: bytes, proof: messages.HsmProof, *, is_first: bool
    ) -> Candidate:
        authoriser_keys.require(public_key)  # or CryptoError
        key_id = record.key_id
        found, number = await self._repository.store.write(
            lambda w: (candidates.find(w.execute, key_id, public_key), candidates.count(w.execute, key_id))
        )
        if found is not None and found.status is CandidateStatus.REFUSED:
            raise CosignerRefusalError(RefusalCode.REFUSED_BY_OWNER)
        if found is None and number >= candidates.MOST:
            raise CosignerRefusalError(RefusalCode.BUSY)
        try:
            by = candidates.proved(found, public_key, proof, self._policy)
        except UnprovenError as reason:
            if not (is_first and self._policy.trusts_first):
                logger.warning("an authoriser is not proved to be in an HSM: %s", reason)
                raise CosignerRefusalError(RefusalCode.UNPROVEN) from None
            by, proof = ProvedBy.NOTHING, messages.NO_PROOF
        return Candidate(public_key, CandidateStatus.WAITING, by, proof)

    def _day_of(self, waits: Candidate) -> int:
        return waits.since + self._policy.delay


def _note(
    tag: CosignerAuditTag, peer: str, record: CosignerKeyRecord, candidate: Candidate | None, **points: bytes
) -> CosignerAuditEntry:
    data = {name: point.hex() for name, point in points.items()}
    if candidate is not None:
        data |= {"proved_by": candidate.proved_by.value, "hsm_key": candidate.proof.key_version}
    return CosignerAuditEntry(tag, AuditOutcome.OK, peer, record.key_id.hex, data=data)
