"""A hundred thousand keys: each page of the admin reads what it shows by index, in a fixed number of queries."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.keycast.console import crowd
from tests.keycast.console.conftest import World
from tests.keycast.console.test_pages import KEYS
from tests.query_plans import rows_read, sqlite_plan

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
    if connection.vendor == "sqlite":
        plan = sqlite_plan(sql)
        assert not [each for each in plan if each.startswith("SCAN keys_personalkey") and "INDEX" not in each], (
            sql,
            plan,
        )
        return
    assert rows_read(sql, "keys_personalkey") <= rows, sql
