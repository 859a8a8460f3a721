"""Lets a test database be emptied although its audit rows refuse to go (keycast.audit.triggers), and quickly.

Tests with real transactions end with Django's ``flush``. Around it the triggers are taken away and put back, and the
rate limits that live in the cache go with the tables. What migrating makes (content types, permissions) stays: to make
it again would take ten times as long as all the rest. PostgreSQL deletes the few rows of a test much faster than it
truncates tables, for which it makes new files.
"""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.core.management.commands import flush
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from keycast.audit import triggers

MADE_BY_MIGRATING = {"django_content_type", "auth_permission"}
MANY_ROWS = 20_000
"""From here on truncating is faster."""

_handle = flush.Command.handle


def _statements(_style: Any, connection: BaseDatabaseWrapper, **options: Any) -> list[str]:
    """In place of django.core.management.sql.sql_flush, for the tables that have rows."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = sorted(set(names) - MADE_BY_MIGRATING)
    if connection.vendor != "postgresql":
        return connection.ops.sql_flush(_style, tables, **options)
    quoted = [connection.ops.quote_name(table) for table in tables]
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', (SELECT count(*) FROM (SELECT FROM {table} LIMIT {MANY_ROWS}) AS rows)"
                for table in quoted
            )
        )
        rows = dict(cursor.fetchall())
    if max(rows.values()) >= MANY_ROWS:
        return connection.ops.sql_flush(_style, tables, **options)
    return [f"DELETE FROM {table}" for table, count in rows.items() if count]


def _flush_without_triggers(self: flush.Command, **options: Any) -> None:
    connection = connections[options["database"]]
    with connection.cursor() as cursor:
        triggers.remove(cursor, connection.vendor)
    try:
        _handle(self, **{**options, "inhibit_post_migrate": True})
    finally:
        with connection.cursor() as cursor:
            triggers.install(cursor, connection.vendor)
        cache.clear()


def install() -> None:
    """Make ``flush`` work in this process; once is enough."""
    flush.Command.handle = _flush_without_triggers  # type: ignore[method-assign]
    flush.sql_flush = _statements
