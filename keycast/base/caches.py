"""Django's caches in the database and in Redis, with JSON in place of pickles.

Django's own unpickle whatever they find, so whoever can write the table or Redis runs code in every process that reads.
Here a value is JSON (a tuple comes back as a list), and what is none is as if it were not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.redis import RedisCache
from django.db import DatabaseError, connections, router, transaction

log = structlog.get_logger(__name__)

UNREADABLE: Final = object()
"""Stands for a value that is no JSON."""


def encoded(value: Any) -> str:
    """A value as it is stored; TypeError or ValueError for one that JSON has no word for."""
    return json.dumps(value, separators=(",", ":"))


def decoded(text: str | bytes) -> Any:
    """The value of a stored text, or UNREADABLE."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        log.warning("cache_entry_unreadable")
        return UNREADABLE


class JsonDatabaseCache(DatabaseCache):
    """Django's cache in a table. Its ``add`` is one statement, so that of several at once one alone succeeds."""

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        names = {self.make_and_validate_key(key, version=version): key for key in keys}
        if not names:
            return {}
        connection = connections[router.db_for_read(self.cache_model_class)]
        marks = ", ".join(["%s"] * len(names))
        sql = f"SELECT cache_key, value FROM {self._quoted(connection)} WHERE expires > %s AND cache_key IN ({marks})"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(sql, [self._moment(connection, datetime.now(UTC)), *names])
            rows = cursor.fetchall()
        found = {names[key]: decoded(text) for key, text in rows}
        return {key: value for key, value in found.items() if value is not UNREADABLE}

    def _base_set(self, mode: str, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """See Django's: ``mode`` is set, add or touch; False where nothing was written."""
        text, database = encoded(value), router.db_for_write(self.cache_model_class)
        connection, now = connections[database], datetime.now(UTC)
        table, adapted_now = self._quoted(connection), self._moment(connection, now)
        expires = self._moment(connection, self._expiry(timeout))
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
            if (count := cursor.fetchone()[0]) > self._max_entries:
                self._cull(database, cursor, now.replace(microsecond=0), count)  # type: ignore[attr-defined]  # not in the stubs
            insert = (
                f"INSERT INTO {table} (cache_key, value, expires) VALUES (%s, %s, %s) "  # noqa: S608
                "ON CONFLICT (cache_key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
            )
            statements: dict[str, tuple[str, list[Any]]] = {
                "set": (insert, [key, text, expires]),
                "add": (f"{insert} WHERE {table}.expires <= %s", [key, text, expires, adapted_now]),
                "touch": (
                    f"UPDATE {table} SET expires = %s WHERE cache_key = %s AND expires > %s",  # noqa: S608
                    [expires, key, adapted_now],
                ),
            }
            try:
                with transaction.atomic(using=database):
                    cursor.execute(*statements[mode])
                    return bool(cursor.rowcount > 0)
            except DatabaseError:  # as Django's: a cache that cannot be written is no error
                return False

    def _expiry(self, timeout: Any) -> datetime:
        until = self.get_backend_timeout(timeout)
        found = datetime.max.replace(tzinfo=UTC) if until is None else datetime.fromtimestamp(until, tz=UTC)
        return found.replace(microsecond=0)

    def _quoted(self, connection: Any) -> str:
        name: str = connection.ops.quote_name(self._table)  # type: ignore[attr-defined]  # not in the stubs
        return name

    @staticmethod
    def _moment(connection: Any, moment: datetime) -> Any:
        return connection.ops.adapt_datetimefield_value(moment.replace(microsecond=0))


class JsonSerializer:
    """For Django's cache in Redis. A whole number is its digits, which Redis counts up itself."""

    def dumps(self, value: Any) -> bytes:
        return encoded(value).encode()

    def loads(self, data: bytes) -> Any:
        return decoded(data)


class JsonRedisCache(RedisCache):
    """Django's cache in Redis."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        options = {**params.get("OPTIONS", {}), "serializer": JsonSerializer}
        super().__init__(server, {**params, "OPTIONS": options})

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = super().get(key, default, version=version)
        return default if value is UNREADABLE else value

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        found = super().get_many(keys, version=version)
        return {key: value for key, value in found.items() if value is not UNREADABLE}
