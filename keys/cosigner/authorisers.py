"""Whose authorisations the co-signer accepts for a key, and how another HSM key takes that one's place.

Signer A, taken over, must not put an HSM key of its own choice there: a successor is accepted only when the present
one has signed for it. Both hold until signer A says that every process of its knows the new one. For an HSM key that
is lost there is ``manage.py cosigner --replace-authoriser``, on this machine alone (keys.cosigner.rescue).
"""

from __future__ import annotations

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.crypto import authoriser_keys
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository, authorised_digest, use_up
from keys.cosigner.records import CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode


class AuthoriserHandler:
    """Each request may be repeated."""

    def __init__(self, repository: CosignerKeyRepository) -> None:
        self._repository = repository

    async def register(self, request: messages.RegisterAuthoriserRequest, peer: str) -> AnyReply:
        """The first authoriser of a key; from then on it signs."""
        record = await self._repository.known(request)
        # The first one stays: whoever controls signer A must not put an HSM key of their own there afterwards.
        if record.authoriser is not None and record.authoriser != request.authoriser:
            raise CosignerRefusalError(RefusalCode.KEY_EXISTS)
        if record.authoriser is None:
            authoriser_keys.require(request.authoriser)  # or CryptoError
            note = _note(CosignerAuditTag.AUTHORISER_REGISTERED, peer, record, authoriser=request.authoriser)
            await self._repository.change(
                record, note, lambda w: records.set_authoriser(w, record.key_id, request.authoriser)
            )
        crash.point("b-registered")
        return messages.CosignerDoneReply(request.number)

    async def which(self, request: messages.AuthorisersRequest, peer: str) -> AnyReply:
        """Whose authorisations hold now: public, and of use to nobody else."""
        record = await self._repository.known(request)
        return messages.AuthorisersReply(request.number, record.authoriser or b"", record.coming_authoriser or b"")

    async def succeed(self, request: messages.AddAuthoriserRequest, peer: str) -> AnyReply:
        """Accept a successor beside the present authoriser, which has signed for it."""
        record = await self._repository.in_use(request)
        new = request.authoriser
        # Told before; only the reply was lost.
        if new in record.authorisers:
            return messages.CosignerDoneReply(request.number)
        if record.coming is not None or record.coming_authoriser is not None:
            raise CosignerRefusalError(RefusalCode.BUSY)  # one change of a key at a time
        authoriser_keys.require(new)
        assert record.authoriser is not None  # noqa: S101 -- or it were not in use
        digest = authorised_digest(
            record, AuthorisationPurpose.SUCCEED, authorisation.succession(record.authoriser, new), request.grant
        )
        note = _note(CosignerAuditTag.AUTHORISER_SUCCEEDED, peer, record, authoriser=record.authoriser, successor=new)

        def change(writing: StoreTransaction) -> None:
            use_up(writing, digest, request.grant)
            records.add_authoriser(writing, record.key_id, new)

        await self._repository.change(record, note, change)
        crash.point("b-succeeded")
        return messages.CosignerDoneReply(request.number)

    async def settle(self, request: messages.SettleAuthoriserRequest, peer: str) -> AnyReply:
        """Of the two, only this one holds from now on; both were accepted, so this needs no authorisation."""
        record = await self._repository.known(request)
        # So it can only choose among the two that were accepted.
        if request.authoriser not in record.authorisers:
            raise CosignerRefusalError(RefusalCode.UNAUTHORISED)
        if record.coming_authoriser is not None:
            note = _note(CosignerAuditTag.AUTHORISER_SETTLED, peer, record, authoriser=request.authoriser)
            await self._repository.change(
                record, note, lambda w: records.settle_authoriser(w, record.key_id, request.authoriser)
            )
        crash.point("b-settled")
        return messages.CosignerDoneReply(request.number)


def _note(tag: CosignerAuditTag, peer: str, record: CosignerKeyRecord, **points: bytes) -> CosignerAuditEntry:
    return CosignerAuditEntry(
        tag, AuditOutcome.OK, peer, record.key_id.hex, data={name: point.hex() for name, point in points.items()}
    )
