"""What a database reads for a statement, by its own word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db import connection


def sqlite_plan(statement: str) -> list[str]:
    """The lines of SQLite's plan."""
    with connection.cursor() as cursor:
        return [str(row[-1]) for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()]


def rows_read(statement: str, table: str) -> int:
    """How many rows of ``table`` PostgreSQL reads in one step of ``statement``, at most. It carries it out."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    read = [node for node in _nodes(plan) if node.get("Relation Name") == table]
    return max(
        (int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in read),
        default=0,
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)
