"""Pages of the co-signer's log, for its operator and for the owner of a key."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keys.cosigner.audit import CHAIN

MAX_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class CosignerLogRow:
    """One row; ``at`` is Unix time in microseconds, ``request_id`` an event id or empty, ``data`` JSON."""

    sequence: int
    at: int
    tag: str
    outcome: str
    peer: str
    key_id: str
    request_id: str
    data: str


@dataclass(frozen=True, slots=True)
class CosignerLogFilter:
    """Which rows: of one key, with one of these tags, behind ``after`` and before ``before`` (0: no bound)."""

    key_id: UUID | None = None
    tags: Sequence[str] = ()
    after: int = 0
    before: int = 0
    is_oldest_first: bool = False


def page(connection: sqlite3.Connection, wanted: CosignerLogFilter, limit: int = MAX_PAGE) -> list[CosignerLogRow]:
    """At most ``limit`` rows, never more than MAX_PAGE; newest first unless the filter says otherwise."""
    conditions: list[tuple[str, object]] = [("chain = ?", CHAIN), ("sequence > ?", wanted.after)]
    if wanted.before:
        conditions.append(("sequence < ?", wanted.before))
    if wanted.key_id is not None:
        conditions.append(("key_id = ?", wanted.key_id.hex))
    where, values = " AND ".join(text for text, _ in conditions), [value for _, value in conditions]
    if wanted.tags:
        where += f" AND tag IN ({', '.join('?' * len(wanted.tags))})"
        values += wanted.tags
    order = "ASC" if wanted.is_oldest_first else "DESC"
    rows = connection.execute(
        "SELECT sequence, at, tag, outcome, actor_label, key_id, request_id, data FROM audit_auditrow "  # noqa: S608
        f"WHERE {where} ORDER BY sequence {order} LIMIT ?",
        (*values, max(1, min(limit, MAX_PAGE))),
    )
    return [CosignerLogRow(*row) for row in rows]
