"""What the co-signer's operator does on its machine, also while the co-signer serves: rows of its database.

Whoever may write this file holds every half B anyway, so the file's owner is the operator, and no further way in is
opened for it. Each change and its row of the log are one transaction; the serving process reads the rules again within
the next one (keys.cosigner.brake), and looks for that every second.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keycast.crypto import authoriser_keys
from keys.cosigner import audit, brake_rules, candidates, forgetting, rescue
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.brake_rules import BrakeDefaults, BrakeRules, CosignerScope, CosignerStop, CosignerUse
from keys.cosigner.candidates import Candidate, CandidateStatus, ProvedBy
from keys.cosigner.store import CosignerRefusalError, CosignerStoreInUse, StoreTransaction
from keys.signing.cosigning import authorisation


class OperatorCommandError(Exception):
    """It was not done; the text says why, for the operator."""


def stop(path: Path, scope: CosignerScope, reason: str) -> None:
    """Refuse all use from now on, until ``resume``. Raises OperatorCommandError."""
    with _changing(path) as connection:
        _require_known(connection, scope)
        found = CosignerStop(str(scope), time.time_ns() // 1000, _operator(), reason)
        brake_rules.set_stop(connection, found)
        _note(connection, CosignerAuditTag.OPERATOR_STOPPED, scope, reason=reason)


def resume(path: Path, scope: CosignerScope, reason: str) -> list[CosignerStop]:
    """Lift the stop of this scope alone; the stops that are still there. Raises OperatorCommandError."""
    with _changing(path) as connection:
        if not brake_rules.lift_stop(connection, scope):
            raise OperatorCommandError(f"There is no stop of {scope.in_words}.")
        _note(connection, CosignerAuditTag.OPERATOR_RESUMED, scope, reason=reason)
        return list(brake_rules.load(connection, BrakeDefaults()).stops.values())


def limit(path: Path, scope: CosignerScope, values: dict[str, str | None], reason: str) -> None:
    """Bound uses a day and kinds; None takes a bound back. Raises OperatorCommandError."""
    with _changing(path) as connection:
        _require_known(connection, scope)
        for what, value in values.items():
            brake_rules.set_limit(connection, scope, what, value)
        _note(connection, CosignerAuditTag.OPERATOR_LIMITED, scope, reason=reason, **values)


def keep(path: Path, key_id: UUID, reason: str) -> None:
    """Cancel the forgetting of a key, which is disabled then. Raises OperatorCommandError."""
    with _changing(path) as connection:
        writing = StoreTransaction(connection)
        try:
            forgetting.cancel_forget(writing, key_id, operator=_operator(), reason=reason)
        except CosignerRefusalError:
            raise OperatorCommandError(f"The key {key_id} does not wait to be forgotten.") from None
        audit.append(connection, writing.notes)


def destroy(path: Path, key_id: UUID, reason: str) -> None:
    """Destroy a key's halves now; only while no co-signer serves. Raises OperatorCommandError."""
    try:
        rescue.destroy_halves(path, key_id, reason)
    except CosignerStoreInUse:
        raise OperatorCommandError("Stop the co-signer first: it serves this file.") from None
    except CosignerRefusalError:
        raise OperatorCommandError(f"The co-signer has no halves of the key {key_id}.") from None


def approve_authoriser(path: Path, key_id: UUID, authoriser: bytes, reason: str) -> None:
    """Say yes to an HSM key (33 bytes) that no attestation proves: it may be registered, or succeed, for this key.

    It still has to be named by signer A; a successor still needs the present authoriser's signature and waits out the
    delay. Raises OperatorCommandError, and CryptoError for what is no point.
    """
    authoriser_keys.require(authoriser)
    with _changing(path) as connection:
        scope = brake_rules.key_scope(key_id)
        _require_known(connection, scope)
        found = candidates.find(connection.execute, key_id, authoriser)
        if found is not None and found.status is CandidateStatus.REFUSED:
            raise OperatorCommandError("The owner, or staff, refused this HSM key for this key.")
        if found is None or found.status is CandidateStatus.APPROVED:
            approved = Candidate(authoriser, CandidateStatus.APPROVED, ProvedBy.OPERATOR, since=authorisation.now())
            candidates.keep(connection.execute, key_id, approved)
            _note(connection, CosignerAuditTag.AUTHORISER_APPROVED, scope, authoriser=authoriser.hex(), reason=reason)


@dataclass(frozen=True, slots=True)
class KeyAtCosigner:
    """A key as the co-signer has it, the stop that holds for it, and its uses today."""

    key_id: UUID
    tenant_id: UUID
    public_key: str
    state: str
    stop: CosignerStop | None
    today: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        stopped = {"scope": self.stop.scope, "who": self.stop.who, "reason": self.stop.reason} if self.stop else None
        ids = {"key": str(self.key_id), "tenant": str(self.tenant_id), "public_key": self.public_key}
        return {**ids, "state": self.state, "stop": stopped, "today": self.today}


def keys(connection: sqlite3.Connection, tenant_id: UUID | None = None) -> Iterator[KeyAtCosigner]:
    """Every key, or a tenant's, oldest first."""
    found, day = rules(connection), int(time.time()) // 86_400
    where, values = ("WHERE tenant_id = ?", (tenant_id.bytes,)) if tenant_id else ("", ())
    rows = connection.execute(
        f"SELECT key_id, tenant_id, public_key, state FROM cosigner_key {where} ORDER BY created_at",  # noqa: S608
        values,
    )
    for key, tenant, public_key, state in rows:
        key_id, of = UUID(bytes=key), UUID(bytes=tenant)
        spent = connection.execute("SELECT use, count FROM cosigner_spent WHERE scope = ? AND day = ?", (key, day))
        today = dict.fromkeys(map(str, CosignerUse), 0) | dict(spent.fetchall())
        holding = found.stop_of(brake_rules.tenant_scope(of), brake_rules.key_scope(key_id))
        yield KeyAtCosigner(key_id, of, public_key.hex(), state, holding, today)


def rules(connection: sqlite3.Connection, defaults: BrakeDefaults | None = None) -> BrakeRules:
    """Stops and bounds as they are."""
    return brake_rules.load(connection, defaults or BrakeDefaults())


def key_named(connection: sqlite3.Connection, public_key: bytes) -> UUID | None:
    """The id of the key with this public key (x-only), if the co-signer has it."""
    row = connection.execute(
        "SELECT key_id FROM cosigner_key WHERE public_key = ? ORDER BY created_at DESC", (public_key,)
    ).fetchone()
    return UUID(bytes=row[0]) if row else None


def _require_known(connection: sqlite3.Connection, scope: CosignerScope) -> None:
    column = {"key": "key_id", "tenant": "tenant_id"}.get(scope.kind)
    # A mistyped id would stop nothing, and look as if it had.
    if (
        column is not None
        and not connection.execute(
            f"SELECT 1 FROM cosigner_key WHERE {column} = ?",  # noqa: S608 -- one of two constants
            (scope.id_bytes,),
        ).fetchone()
    ):
        raise OperatorCommandError(f"The co-signer has nothing of {scope.in_words}.")


def _note(connection: sqlite3.Connection, tag: CosignerAuditTag, scope: CosignerScope, **data: object) -> None:
    key = scope.id_bytes.hex() if scope.kind == "key" else ""
    row = CosignerAuditEntry(tag, AuditOutcome.OK, _operator(), key, data={"scope": str(scope), **data})
    audit.append(connection, [row])


def _operator() -> str:
    return f"operator:{os.getuid()}"


@contextmanager
def _changing(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction beside a serving co-signer. Raises OperatorCommandError."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            brake_rules.create_tables(connection)
            candidates.create_tables(connection)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise OperatorCommandError(f"The co-signer's database {path} cannot be written: {error}") from None
