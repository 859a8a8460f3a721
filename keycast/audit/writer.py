"""Writing rows: the hot path of the audit log, in raw SQL, many rows of several chains at once.

Nothing here decides whether something is recorded, and nothing here commits: the caller's transaction does, so that
what is recorded and its record become durable together or not at all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from django.db import Error, transaction
from django.db.transaction import TransactionManagementError

from keycast.audit.chain import genesis, row_hash
from keycast.audit.entries import AuditEntry
from keycast.audit.errors import AuditUnavailable

MAX_DATA = 4096


class WrittenRow(NamedTuple):
    """A row of the log as it is written: its body (keycast.audit.chain), then its place in the chain."""

    chain: str
    sequence: int
    at: int
    tag: str
    outcome: str
    actor_type: str
    actor_id: str
    actor_label: str
    key_id: str
    connection_id: str
    request_id: str
    data: str
    previous_hash: bytes
    hash: bytes


_COLUMNS = ", ".join(WrittenRow._fields)
_INSERT = f"INSERT INTO audit_auditrow ({_COLUMNS}) VALUES ({', '.join(['%s'] * len(WrittenRow._fields))})"  # noqa: S608
_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Rows of one statement on SQLite: few different statements, so that each stays prepared; at most 32,766 parameters."""
_COPY = f"COPY audit_auditrow ({_COLUMNS}) FROM STDIN"
_ROW = f"({', '.join(['?'] * len(WrittenRow._fields))})"
_STATEMENTS = {
    size: f"INSERT INTO audit_auditrow ({_COLUMNS}) VALUES {', '.join([_ROW] * size)}"  # noqa: S608
    for size in _SIZES
}
_NEW_HEAD = "INSERT INTO audit_auditchain (name, sequence, head) VALUES (%s, 0, %s) ON CONFLICT DO NOTHING"
_MOVE_HEAD = "UPDATE audit_auditchain SET sequence = %s, head = %s WHERE name = %s"

_Heads = dict[str, tuple[int, bytes]]
_encode_data = msgspec.json.Encoder(order="sorted").encode


def append(cursor: Any, entries: Sequence[AuditEntry]) -> list[WrittenRow]:
    """Write ``entries`` in their order, through a Django cursor, inside the transaction that its connection has open.

    Returns the rows as they were written.
    The heads of their chains are locked in the order of their names until that transaction ends, so chains never
    fork and two writers never wait for each other in a circle; a missing head is created. Raises AuditUnavailable
    when the database refuses; the transaction is then marked for rollback, even if the caller swallows the error.
    """
    if not entries:
        return []
    if not _in_transaction(cursor):
        raise TransactionManagementError("Audit rows are written inside the transaction of what they record.")
    try:
        heads = _locked_heads(cursor, sorted({entry.chain for entry in entries}))
        # One time for all of them: rows of one transaction become durable together.
        rows = _chained(heads, entries, time.time_ns() // 1000)
        _insert(cursor, rows)
        cursor.executemany(_MOVE_HEAD, [(sequence, head, name) for name, (sequence, head) in heads.items()])
    except Error as error:
        if cursor.db.in_atomic_block:
            transaction.set_rollback(True, using=cursor.db.alias)
        raise AuditUnavailable from error
    return rows


def _in_transaction(cursor: Any) -> bool:
    """True inside ``atomic`` and after a BEGIN of the caller's own."""
    if cursor.db.in_atomic_block or not cursor.db.get_autocommit():
        return True
    raw = cursor.db.connection
    return bool(raw.in_transaction if cursor.db.vendor == "sqlite" else raw.info.transaction_status)


def _locked_heads(cursor: Any, names: list[str]) -> _Heads:
    """Sequence and hash of each chain's last row, by name, the heads created if need be and locked."""
    heads = _select_heads(cursor, names)
    if len(heads) < len(names):
        cursor.executemany(_NEW_HEAD, [(name, genesis(name)) for name in names if name not in heads])
        # Another writer may be making the same head: the second look finds whichever was first, and locks that.
        heads = _select_heads(cursor, names)
    return heads


def _select_heads(cursor: Any, names: list[str]) -> _Heads:
    lock = " FOR UPDATE" if cursor.db.features.has_select_for_update else ""
    marks = ", ".join(["%s"] * len(names))
    cursor.execute(
        f"SELECT name, sequence, head FROM audit_auditchain WHERE name IN ({marks}) ORDER BY name{lock}",  # noqa: S608
        names,
    )
    return {name: (sequence, bytes(head)) for name, sequence, head in cursor.fetchall()}


def _chained(heads: _Heads, entries: Sequence[AuditEntry], now: int) -> list[WrittenRow]:
    """The finished rows of ``entries``; moves ``heads`` along."""
    rows = []
    for entry in entries:
        previous_sequence, previous = heads[entry.chain]
        actor = entry.actor
        body = (
            entry.chain,
            previous_sequence + 1,
            now,
            entry.tag.value,
            entry.outcome.value,
            actor.type,
            _text(actor.id, 64),
            _text(actor.label, 200),
            entry.key_id,
            entry.connection_id,
            _text(entry.request_id, 64),
            _data(entry.data) if entry.data else "{}",
        )
        this = row_hash(previous, body)
        heads[entry.chain] = (previous_sequence + 1, this)
        rows.append(WrittenRow(*body, previous, this))
    return rows


def _insert(cursor: Any, rows: list[WrittenRow]) -> None:
    if cursor.db.vendor == "sqlite":
        _insert_chunks(cursor, rows)
    # For one row COPY costs more than it saves.
    elif len(rows) > 1:
        _copy(cursor, rows)
    else:
        cursor.execute(_INSERT, rows[0])


def _insert_chunks(cursor: Any, rows: list[WrittenRow]) -> None:
    """Many rows by one statement, with the driver's own placeholders.

    Each row of SQLite's executemany gives up the interpreter lock: a writer thread beside a busy event loop would wait
    a switch interval to get it back, row by row.
    """
    start = 0
    with cursor.db.wrap_database_errors:
        for size in _SIZES:
            while len(rows) - start >= size:
                values = list(chain.from_iterable(rows[start : start + size]))
                sqlite3.Cursor.execute(cursor.cursor, _STATEMENTS[size], values)
                start += size


def _copy(cursor: Any, rows: list[WrittenRow]) -> None:
    """PostgreSQL's COPY: a quarter of the cost of executemany, and triggers and constraints hold all the same."""
    with cursor.db.wrap_database_errors, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row(row)


def _text(value: str, limit: int) -> str:
    """``value`` fit for its column: at most ``limit`` characters, control and format characters written out."""
    # Control characters and text that runs backwards could forge lines where the log is read.
    if not value.isprintable():
        value = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in value)
    return value[:limit]


def _data(data: Mapping[str, Any]) -> str:
    """``data`` as canonical JSON. What cannot be kept is named instead: it must not stop other rows of the batch."""
    try:
        text = _encode_data(data).decode()
    except (TypeError, ValueError):
        return '{"omitted":"not JSON"}'
    return text if len(text) <= MAX_DATA else f'{{"omitted":"too large","size":{len(text)}}}'
