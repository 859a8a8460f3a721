"""How the co-signer ends keys: by the HSM's grant and after a delay; at once only what was never in use.

A signer A that was taken over could otherwise make every key unusable for ever. While a key waits for its end it is
out of use, and both signer A and the co-signer's operator (``waiting``, ``cancel_forget``) can keep it. Where the HSM
key is gone nobody can grant it: the operator ends such a key on this machine (keys.cosigner.rescue.destroy_halves).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.records import CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode

_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class ForgettingLimits:
    """How long a key waits for its end (ms), and how many may begin to wait within an hour."""

    delay: int = 30 * 24 * _HOUR
    an_hour: int = 20


class ForgettingHandler:
    """Each request may be repeated."""

    def __init__(self, repository: CosignerKeyRepository, limits: ForgettingLimits) -> None:
        self._repository, self._limits = repository, limits

    async def forget(self, request: messages.ForgetKeyRequest, peer: str) -> AnyReply:
        """The HSM has signed for the end of this key."""
        record = await self._repository.find(request)
        if record is not None and record.state not in {records.FORGETTING, records.FORGOTTEN}:
            await self._begin(record, request, peer)
        crash.point("b-forgotten")
        return messages.CosignerDoneReply(request.number)

    async def keep(self, request: messages.KeepKeyRequest, peer: str) -> AnyReply:
        """The key is disabled, and not to be forgotten; whoever asks, it stays out of use until the HSM enables it."""
        record = await self._repository.known(request)
        if record.state == records.FORGETTING:
            note = CosignerAuditEntry(CosignerAuditTag.FORGET_CANCELLED, AuditOutcome.OK, peer, record.key_id.hex)
            await self._repository.change(record, note, lambda w: records.keep(w, record.key_id))
        return messages.CosignerDoneReply(request.number)

    async def withdraw(self, request: messages.WithdrawHalfRequest, peer: str) -> AnyReply:
        """Destroy one half at once, and no other that took its place."""
        record = await self._repository.find(request)
        # Only while this half is the only one: a conversion that was given up late must not take the half of the one
        # that followed it.
        if record is not None and [half.half_b for half in record.halves.values()] == [request.half_b]:
            # One that was in use ends by a grant and after a delay.
            if record.state != records.PENDING:
                raise CosignerRefusalError(RefusalCode.UNAUTHORISED)
            data = {"half": request.half_b.hex()}
            await self._repository.change(record, forgotten(record, peer, **data), lambda w: _withdraw(w, record))
        crash.point("b-forgotten")
        return messages.CosignerDoneReply(request.number)

    async def _begin(self, record: CosignerKeyRecord, request: messages.ForgetKeyRequest, peer: str) -> None:
        # By a half: a conversion that was given up late must not end the one that followed it.
        if request.named not in {record.public_key, *(half.half_b for half in record.halves.values())}:
            raise CosignerRefusalError(RefusalCode.STALE_HALF)
        self._repository.use_up(record, AuthorisationPurpose.FORGET, request.named, request.grant)
        now = authorisation.now()
        due = now + self._limits.delay
        note = CosignerAuditEntry(
            CosignerAuditTag.FORGET_ASKED,
            AuditOutcome.OK,
            peer,
            record.key_id.hex,
            data={"named": request.named.hex(), "due": due},
        )

        def change(writing: StoreTransaction) -> None:
            # Counted where it is written: a restart begins no new hour.
            if records.forgets_since(writing, now - _HOUR) >= self._limits.an_hour:
                raise CosignerRefusalError(RefusalCode.TOO_MANY_FORGETS)
            records.begin_to_forget(writing, record.key_id, now, due)
            if due <= now:
                records.forget(writing, record.key_id)
                writing.note(forgotten(record, peer))

        await self._repository.change(record, note, change)


def _withdraw(writing: StoreTransaction, seen: CosignerKeyRecord) -> None:
    # Looked at again: it may have come into use while the disk was waited for.
    found = records.load(writing, seen.key_id)
    if found is None or found.state != records.PENDING or found.halves.keys() != seen.halves.keys():
        raise CosignerRefusalError(RefusalCode.BUSY)
    records.forget(writing, seen.key_id)


def forgotten(record: CosignerKeyRecord, by: str, **data: str) -> CosignerAuditEntry:
    """The row that says that a key's halves are destroyed."""
    return CosignerAuditEntry(CosignerAuditTag.FORGOTTEN, AuditOutcome.OK, by, record.key_id.hex, data=data)


@dataclass(frozen=True, slots=True)
class WaitingForget:
    """A key that is to be forgotten: since when, and when (Unix time in ms)."""

    key_id: UUID
    tenant_id: UUID
    public_key: bytes
    asked_at: int
    due_at: int


def waiting(connection: sqlite3.Connection) -> list[WaitingForget]:
    """Every key that waits for its end, the next one first. For the operator; also beside a serving co-signer."""
    rows = connection.execute(
        "SELECT key_id, tenant_id, public_key, forget_asked_at, forget_at FROM cosigner_key "
        "WHERE state = 'forgetting' ORDER BY forget_at"
    )
    return [WaitingForget(UUID(bytes=key), UUID(bytes=tenant), *rest) for key, tenant, *rest in rows]


def cancel_forget(writing: StoreTransaction, key_id: UUID, *, operator: str, reason: str) -> None:
    """Keep a key that was to be forgotten; it is disabled then. For the operator; also beside a serving co-signer.

    The caller writes ``writing.notes`` to the log in the same transaction. Raises Refusal when it does not wait.
    """
    record = records.load(writing, key_id)
    if record is None or record.state != records.FORGETTING:
        raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
    records.keep(writing, key_id)
    data = {"reason": reason}
    writing.note(
        CosignerAuditEntry(CosignerAuditTag.FORGET_CANCELLED, AuditOutcome.OK, operator, key_id.hex, data=data)
    )
