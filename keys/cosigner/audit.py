"""The co-signer's own audit log: one hash chain (keycast.audit.chain) in its own database, append-only by triggers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

import msgspec

from keycast.audit import triggers
from keycast.audit.chain import Body, genesis, row_hash
from keycast.audit.tags import AuditOutcome

CHAIN: Final = "cosigner"
_BODY: Final = (
    "chain, sequence, at, tag, outcome, actor_type, actor_id, actor_label, key_id, connection_id, request_id, data"
)
_SCHEMA: Final = (
    "CREATE TABLE audit_auditrow (id INTEGER PRIMARY KEY, chain TEXT NOT NULL, sequence INTEGER NOT NULL, "
    "at INTEGER NOT NULL, tag TEXT NOT NULL, outcome TEXT NOT NULL, actor_type TEXT NOT NULL, actor_id TEXT NOT NULL, "
    "actor_label TEXT NOT NULL, key_id TEXT NOT NULL, connection_id TEXT NOT NULL, request_id TEXT NOT NULL, "
    "data TEXT NOT NULL, previous_hash BLOB NOT NULL, hash BLOB NOT NULL, UNIQUE (chain, sequence))",
    "CREATE TABLE audit_auditchain (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, head BLOB NOT NULL)",
)
_INSERT: Final = f"INSERT INTO audit_auditrow ({_BODY}, previous_hash, hash) VALUES ({', '.join('?' * 14)})"  # noqa: S608
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class CosignerAuditTag(StrEnum):
    """What the co-signer did or refused; ``cosigner:subject:action``."""

    STARTED = "cosigner:process:started"
    CREATED = "cosigner:half:created"
    ADOPTED = "cosigner:half:adopted"
    AUTHORISER_REGISTERED = "cosigner:authoriser:registered"
    AUTHORISER_APPROVED = "cosigner:authoriser:approved"
    AUTHORISER_ANNOUNCED = "cosigner:authoriser:announced"
    AUTHORISER_REFUSED = "cosigner:authoriser:refused"
    AUTHORISER_SUCCEEDED = "cosigner:authoriser:succeeded"
    AUTHORISER_SETTLED = "cosigner:authoriser:settled"
    AUTHORISER_REPLACED = "cosigner:authoriser:replaced"
    SIGNED = "cosigner:event:signed"
    CONTRIBUTED = "cosigner:ecdh:contributed"
    READING_OPENED = "cosigner:reading:opened"
    READING_ENDED = "cosigner:reading:ended"
    APP_ADMITTED = "cosigner:app:admitted"
    APP_ENDED = "cosigner:app:ended"
    REFRESH_PREPARED = "cosigner:refresh:prepared"
    REFRESH_COMMITTED = "cosigner:refresh:committed"
    REFRESH_FINISHED = "cosigner:refresh:finished"
    STOPPED = "cosigner:key:stopped"
    ENABLED = "cosigner:key:enabled"
    FORGET_ASKED = "cosigner:key:forget-asked"
    FORGET_CANCELLED = "cosigner:key:forget-cancelled"
    FORGOTTEN = "cosigner:key:forgotten"
    REFUSED = "cosigner:request:refused"
    OPERATOR_STOPPED = "cosigner:operator:stopped"
    OPERATOR_RESUMED = "cosigner:operator:resumed"
    OPERATOR_DESTROYED = "cosigner:operator:destroyed"
    OPERATOR_LIMITED = "cosigner:operator:limited"
    BUDGET_REACHED = "cosigner:budget:reached"
    UNUSUAL = "cosigner:rate:unusual"


@dataclass(frozen=True, slots=True)
class CosignerAuditEntry:
    """One row to be written: ids in hex, ``request_id`` an event id or empty. Never content, never a secret."""

    tag: CosignerAuditTag
    outcome: AuditOutcome
    peer: str
    key_id: str = ""
    request_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def create_tables(connection: sqlite3.Connection) -> None:
    """The two tables and the triggers that refuse changes of history."""
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO audit_auditchain VALUES (?, 0, ?)", (CHAIN, genesis(CHAIN)))
    triggers.install_without_cuts(connection, "sqlite")


def append(connection: sqlite3.Connection, notes: Sequence[CosignerAuditEntry]) -> None:
    """Write the rows inside the open transaction."""
    if not notes:
        return
    sequence, head = connection.execute(
        "SELECT sequence, head FROM audit_auditchain WHERE name = ?", (CHAIN,)
    ).fetchone()
    now, rows = time.time_ns() // 1000, []
    for note in notes:
        sequence += 1
        data = _encode(note.data).decode()
        # The columns of the server's log, so that one hash and one set of triggers serve both.
        body = (CHAIN, sequence, now, note.tag.value, note.outcome.value, "system", "signer", note.peer)
        whole = (*body, note.key_id, "", note.request_id, data)
        previous, head = head, row_hash(head, whole)
        rows.append((*whole, previous, head))
    connection.executemany(_INSERT, rows)
    connection.execute("UPDATE audit_auditchain SET sequence = ?, head = ? WHERE name = ?", (sequence, head, CHAIN))


def head(connection: sqlite3.Connection) -> int:
    """The number of the chain's last row."""
    return int(connection.execute("SELECT sequence FROM audit_auditchain WHERE name = ?", (CHAIN,)).fetchone()[0])


def since(connection: sqlite3.Connection, sequence: int) -> list[CosignerAuditEntry]:
    """The rows behind this number, of which only another process of this machine can be the writer."""
    rows = connection.execute(
        "SELECT tag, outcome, actor_label, key_id, request_id, data FROM audit_auditrow "
        "WHERE chain = ? AND sequence > ? ORDER BY sequence",
        (CHAIN, sequence),
    )
    return [
        CosignerAuditEntry(CosignerAuditTag(tag), AuditOutcome(outcome), peer, key, request, msgspec.json.decode(data))
        for tag, outcome, peer, key, request, data in rows
    ]


@dataclass(frozen=True, slots=True)
class CosignerAuditReport:
    """What a verification found: how many rows were read, and the first fault in words (empty: intact)."""

    rows: int
    fault: str = ""


def verify(connection: sqlite3.Connection) -> CosignerAuditReport:
    """Walk the chain from its genesis to its head, in constant memory."""
    found = connection.execute("SELECT sequence, head FROM audit_auditchain WHERE name = ?", (CHAIN,)).fetchone()
    if found is None:
        return CosignerAuditReport(0, "The chain has no head.")
    expected, previous, at_head = 0, genesis(CHAIN), genesis(CHAIN)
    for *body, stored_previous, stored in connection.execute(
        f"SELECT {_BODY}, previous_hash, hash FROM audit_auditrow ORDER BY chain, sequence"  # noqa: S608
    ):
        expected += 1
        if body[0] != CHAIN or body[1] != expected:
            return CosignerAuditReport(expected, f"Row {expected} is missing or stands elsewhere.")
        if stored_previous != previous or row_hash(previous, cast("Body", tuple(body))) != stored:
            return CosignerAuditReport(expected, f"Row {expected} was changed after it was written.")
        previous = stored
        at_head = stored if expected == found[0] else at_head
    if expected < found[0]:
        return CosignerAuditReport(expected, f"Rows {expected + 1} to {found[0]} are missing at the end.")
    if at_head != found[1]:
        return CosignerAuditReport(expected, f"The head of the chain does not fit row {found[0]}.")
    return CosignerAuditReport(expected)
