"""The statements of the group-commit writer: each handles many rows at once, on SQLite and on PostgreSQL.

One statement per batch is not only cheaper to run: every call into SQLite gives up the interpreter lock, and taking
it back from a busy event loop costs up to one switch interval. Placeholders go to the driver as they are: Django's
own translation of ``%s`` costs a microsecond each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper


class RequestRow(NamedTuple):
    """A row of bunker_request as it is claimed; ids in hex, times in Unix milliseconds."""

    event_id: str
    tenant_id: str
    transport_id: str
    connection_id: str | None
    client_public_key: str
    request_id: str
    body_hash: bytes
    method: str
    shard: int
    fence: int
    state: str
    event: str
    reply: str
    claimed_at: int
    expires_at: int


class FinishRow(NamedTuple):
    """What finishes a claimed request, in the order of ``finish_requests``."""

    event_id: str
    fence: int
    state: str
    reply: str


class KnownRow(NamedTuple):
    """What is read of a request that is stored already."""

    event_id: str
    state: str
    reply: str
    body_hash: bytes
    fence: int
    claimed_at: int


REQUEST_COLUMNS = RequestRow._fields
_KNOWN_COLUMNS = ", ".join(KnownRow._fields)
RELEASED_ID = "released:"
"""Before the event id of a request whose own request id another one has now; no client's id is stored like that."""
SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Rows per statement: few different statements, so that each is compiled once and kept."""


def run(cursor: Any, sql: str, params: Sequence[Any]) -> None:
    """Execute ``sql``, whose placeholders are the driver's own, on a Django cursor."""
    if cursor.db.vendor == "sqlite":
        with cursor.db.wrap_database_errors:
            sqlite3.Cursor.execute(cursor.cursor, sql, params)
    else:
        cursor.execute(sql, params)


def mark(vendor: str) -> str:
    """The driver's placeholder."""
    return "?" if vendor == "sqlite" else "%s"


def marks(vendor: str, count: int) -> str:
    """``count`` placeholders, for an IN list."""
    return ", ".join([mark(vendor)] * count)


@lru_cache(maxsize=1024)
def insert_requests(vendor: str, rows: int) -> str:
    """Claim ``rows`` requests; those whose event id or request id is taken are left out of the row count."""
    row = f"({marks(vendor, len(REQUEST_COLUMNS))})"
    return (
        f"INSERT INTO bunker_request ({', '.join(REQUEST_COLUMNS)}) VALUES {', '.join([row] * rows)} "  # noqa: S608
        "ON CONFLICT DO NOTHING"
    )


@lru_cache(maxsize=1024)
def finish_requests(vendor: str, rows: int) -> str:
    """Store the replies of ``rows`` claimed requests, where the fence still holds: (event_id, fence, state, reply)."""
    row = f"({marks(vendor, 4)})"
    return (
        f"UPDATE bunker_request SET state = v.column3, reply = v.column4, event = '' "  # noqa: S608
        f"FROM (VALUES {', '.join([row] * rows)}) AS v "
        "WHERE bunker_request.event_id = v.column1 AND bunker_request.fence = v.column2 "
        "AND bunker_request.state = 'claimed'"
    )


@lru_cache(maxsize=1024)
def mark_published(vendor: str, rows: int) -> str:
    """Set the state of requests that are over: first the new state, then ``rows`` event ids."""
    return (
        f"UPDATE bunker_request SET state = {mark(vendor)} "  # noqa: S608
        f"WHERE event_id IN ({marks(vendor, rows)}) AND state <> 'abandoned'"
    )


@lru_cache(maxsize=1024)
def count_uses(vendor: str, rows: int) -> str:
    """Add to the use counts of connections: (id, uses, last use)."""
    row = f"({marks(vendor, 3)})"
    id_, at = ("v.column1", "v.column3") if vendor == "sqlite" else ("v.column1::uuid", "v.column3::timestamptz")
    return (
        f"UPDATE bunker_connection SET use_count = use_count + v.column2, last_used_at = {at} "  # noqa: S608
        f"FROM (VALUES {', '.join([row] * rows)}) AS v WHERE bunker_connection.id = {id_}"
    )


def fences(cursor: Any, shards: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Owner and fence of each shard, locked against a change of owner until the transaction ends."""
    vendor = cursor.db.vendor
    lock = "" if vendor == "sqlite" else " ORDER BY shard FOR SHARE"
    sql = f"SELECT shard, owner, fence FROM bunker_shardlease WHERE shard IN ({marks(vendor, len(shards))}){lock}"  # noqa: S608
    run(cursor, sql, shards)
    return {shard: (owner, fence) for shard, owner, fence in cursor.fetchall()}


def run_chunked(cursor: Any, statement: Any, rows: Sequence[Sequence[Any]], *before: Any) -> int:
    """Run ``statement(vendor, n)`` over ``rows`` in chunks; the number of rows that it changed."""
    changed = 0
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            part = rows[start : start + size]
            run(cursor, statement(cursor.db.vendor, size), [*before, *chain.from_iterable(part)])
            changed += cursor.rowcount
            start += size
    return changed


def known_requests(cursor: Any, row: RequestRow) -> list[KnownRow]:
    """Rows that stand in the way of a claim."""
    one = mark(cursor.db.vendor)
    sql = (
        f"SELECT {_KNOWN_COLUMNS} FROM bunker_request "  # noqa: S608
        f"WHERE event_id = {one} OR (transport_id = {one} AND client_public_key = {one} AND request_id = {one})"
    )
    run(cursor, sql, [row.event_id, row.transport_id, row.client_public_key, row.request_id])
    return _known_rows(cursor)


@lru_cache(maxsize=2)
def release_request_id(vendor: str) -> str:
    """Give the request id of an event back: its row goes on under a name of its own (``RELEASED_ID`` and event id)."""
    return (
        f"UPDATE bunker_request SET request_id = '{RELEASED_ID}' || event_id "  # noqa: S608
        f"WHERE event_id = {mark(vendor)}"
    )


def known_event(cursor: Any, event_id: str) -> list[KnownRow]:
    """The row of an event id, if there is one."""
    run(cursor, f"SELECT {_KNOWN_COLUMNS} FROM bunker_request WHERE event_id = {mark(cursor.db.vendor)}", [event_id])  # noqa: S608
    return _known_rows(cursor)


def _known_rows(cursor: Any) -> list[KnownRow]:
    rows = map(KnownRow._make, cursor.fetchall())
    return [row._replace(body_hash=bytes(row.body_hash)) for row in rows]


def adapt_time(connection: BaseDatabaseWrapper, moment: Any) -> Any:
    """A datetime as the driver takes it."""
    return connection.ops.adapt_datetimefield_value(moment)
