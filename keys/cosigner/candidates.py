"""HSM keys that are, or are to be, a key's authoriser: how each was proved to be in an HSM, and what was decided of it.

::

    approved   the co-signer's operator says that it is one, on its machine
    waiting    the present authoriser has signed for it; it is accepted when the delay is over, by the co-signer's clock
    accepted   its authorisations hold, or held
    refused    the owner or staff refused it: for ever

Functions run inside the writing thread (keys.cosigner.store), or in a transaction of the operator's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from keys.cosigner.attestation import require_attested
from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.attestation.statement import UnprovenError
from keys.signing.cosigning.messages import NO_PROOF, HsmProof

DELAY_HOURS: Final = 24.0
MOST: Final = 64
"""Of one key. More changes of authoriser than this are for its operator to look at."""
_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS cosigner_authoriser (
    key_id BLOB NOT NULL, public_key BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('approved', 'waiting', 'accepted', 'refused')),
    proved_by TEXT NOT NULL, key_version TEXT NOT NULL, statement BLOB NOT NULL, certificates BLOB NOT NULL,
    since INTEGER NOT NULL, PRIMARY KEY (key_id, public_key)) WITHOUT ROWID"""
_COLUMNS: Final = "public_key, status, proved_by, key_version, statement, certificates, since"

Execute = Callable[..., sqlite3.Cursor]


class CandidateStatus(StrEnum):
    """See above."""

    APPROVED = "approved"
    WAITING = "waiting"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class ProvedBy(StrEnum):
    """What the co-signer believes it for."""

    ATTESTATION = "attestation"
    OPERATOR = "operator"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class AuthoriserPolicy:
    """What the co-signer asks of authorisers. ``delay`` in milliseconds, for a change of one.

    ``trusts_first``: the first HSM key that it is told of for a key needs no proof; any other always does.
    """

    roots: AttestationRoots
    key_ring: str = ""
    trusts_first: bool = False
    delay: int = int(DELAY_HOURS * 3_600_000)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One HSM key (33 bytes) for one personal key. ``since`` when it got its status, Unix time in ms."""

    public_key: bytes
    status: CandidateStatus
    proved_by: ProvedBy
    proof: HsmProof = NO_PROOF
    since: int = 0

    def become(self, status: CandidateStatus, since: int) -> Candidate:
        return replace(self, status=status, since=since)


def create_tables(connection: sqlite3.Connection) -> None:
    """Where they are missing."""
    connection.execute(_SCHEMA)


def find(execute: Execute, key_id: UUID, public_key: bytes) -> Candidate | None:
    row = execute(
        f"SELECT {_COLUMNS} FROM cosigner_authoriser WHERE key_id = ? AND public_key = ?",  # noqa: S608
        (key_id.bytes, public_key),
    ).fetchone()
    return _candidate(row) if row else None


def waiting(execute: Execute, key_id: UUID) -> Candidate | None:
    """The one that waits for its day."""
    row = execute(
        f"SELECT {_COLUMNS} FROM cosigner_authoriser WHERE key_id = ? AND status = 'waiting'",  # noqa: S608
        (key_id.bytes,),
    ).fetchone()
    return _candidate(row) if row else None


def count(execute: Execute, key_id: UUID) -> int:
    return int(execute("SELECT count(*) FROM cosigner_authoriser WHERE key_id = ?", (key_id.bytes,)).fetchone()[0])


def keep(execute: Execute, key_id: UUID, candidate: Candidate) -> None:
    """Store it, in the place of what was known of it."""
    proof = candidate.proof
    execute(
        f"INSERT OR REPLACE INTO cosigner_authoriser (key_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            *(key_id.bytes, candidate.public_key, candidate.status.value, candidate.proved_by.value),
            *(proof.key_version, proof.statement, proof.certificates, candidate.since),
        ),
    )


def proved(candidate: Candidate | None, public_key: bytes, proof: HsmProof, policy: AuthoriserPolicy) -> ProvedBy:
    """What shows that this key is in an HSM. Raises UnprovenError."""
    if candidate is not None and candidate.status is CandidateStatus.APPROVED:
        return ProvedBy.OPERATOR
    if not proof.statement:
        raise UnprovenError("neither an attestation nor the operator's yes")
    require_attested(public_key, proof, policy.key_ring, policy.roots)
    return ProvedBy.ATTESTATION


def _candidate(row: Any) -> Candidate:
    public_key, status, proved_by, key_version, statement, certificates, since = row
    proof = HsmProof(key_version, statement, certificates)
    return Candidate(public_key, CandidateStatus(status), ProvedBy(proved_by), proof, since)
