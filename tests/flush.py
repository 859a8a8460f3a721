"""Lets a test database be emptied although its audit rows refuse to go (keycast.audit.triggers).

Tests with real transactions end with Django's ``flush``. Around it the triggers are taken away and put back,
and the rate limits that live in the cache go with the tables.
"""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.core.management.commands import flush
from django.db import connections

from keycast.audit import triggers

_handle = flush.Command.handle


def _flush_without_triggers(self: flush.Command, **options: Any) -> None:
    connection = connections[options["database"]]
    with connection.cursor() as cursor:
        triggers.remove(cursor, connection.vendor)
    try:
        _handle(self, **options)
    finally:
        with connection.cursor() as cursor:
            triggers.install(cursor, connection.vendor)
        cache.clear()


def install() -> None:
    """Make ``flush`` work in this process; once is enough."""
    flush.Command.handle = _flush_without_triggers  # type: ignore[method-assign]
