"""A hundred thousand keys: each page of the admin reads what it shows by index, in a fixed number of queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.keycast.console import crowd
from tests.keycast.console.conftest import World
from tests.keycast.console.test_pages import KEYS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUERIES = 20
ROWS_READ = 20_000
"""By a page of fifty; a planner may pass some in order of making before it has them."""
BROAD: tuple[dict[str, str], ...] = (
    {},
    {"p": "150"},
    {"state__exact": "locked"},
    {"key_mode__exact": "hsm"},
    {"tenant": "tenant-77"},
    {"q": "tenant-77"},
    {"q": "person-77"},
)
NARROW: tuple[dict[str, str], ...] = (
    {"state__exact": "destroyed"},
    {"hsm_provider__exact": "nethsm"},
    {"key_mode__exact": "hsm", "state__exact": "disabled", "tenant": "tenant-78"},
    {"tenant": "tenant-77", "state__exact": "locked", "key_mode__exact": "hsm"},
    {"q": "person-777@example.org"},
    {"q": f"{77:064x}"},
    {"q": f"{1_000_020:064x}"},
    {"q": f"{crowd.RING}/cryptoKeys/user-20/cryptoKeyVersions/1"},
    {"q": "nobody@example.org"},
)


def test_every_list_of_keys_reads_what_it_shows_by_index(operator_client: Client, world: World) -> None:
    crowd.make()
    for query in (*BROAD, *NARROW):
        asked = queries_of(operator_client, query)
        assert len(asked) <= QUERIES, query
        for sql in asked:
            if 'FROM "keys_personalkey"' in sql:
                assert_bounded(sql, ROWS_READ if query in BROAD and "COUNT(*)" not in sql else crowd.KEYS + 10)


def queries_of(client: Client, query: dict[str, str]) -> list[str]:
    """What is asked of the database for a page."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(KEYS, query).status_code == 200
    return [each["sql"] for each in captured]


def assert_bounded(sql: str, rows: int) -> None:
    """SQLite never reads the table itself from end to end; PostgreSQL reads no more than so many of its rows.

    Where few keys match, a planner may look at each of them once; it depends on statistics, which are drawn by chance.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = [row[3] for row in cursor.fetchall()]
            table = [line for line in plan if line.startswith("SCAN keys_personalkey") and "INDEX" not in line]
            assert not table, (sql, plan)
            return
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    read = [node for node in nodes(plan) if node.get("Relation Name") == "keys_personalkey"]
    most = max((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in read)
    assert most <= rows, (sql, plan)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)
