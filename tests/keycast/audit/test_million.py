"""A million rows: every page takes the same few queries, each bounded by an index (KEYCAST_TEST_ALL=1)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keycast.audit.browsing import CHAIN_WINDOW, WINDOW, browse
from keycast.audit.exporting import range_of
from tests.keycast.audit.million import CHAINS, ROWS, fill, questions
from tests.keycast.console.conftest import platform, signed_in, staff  # noqa: F401  (a fixture)
from tests.query_plans import rows_read, sqlite_plan


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.django_db
def test_every_page_of_a_million_rows_is_a_few_bounded_queries() -> None:
    """One test, so that the rows are made once."""
    fill(connection)
    for name, question in questions().items():
        by_id = not question["chain"] or question["filters"].key_id
        middle = str(ROWS // 2 if by_id else ROWS // CHAINS // 2)
        for cursor in ({}, {"before": middle}, {"after": middle}):
            assert_bounded(name, question, cursor)
    assert_a_range_is_found_at_once()
    assert_the_staffs_page_is_bounded_too()


def assert_bounded(name: str, question: dict[str, Any], cursor: dict[str, str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        browse(**question, **cursor)
    assert len(queries) <= 6, name
    for query in queries.captured_queries:
        assert_walks_no_table(query["sql"])


def assert_walks_no_table(statement: str) -> None:
    """No statement walks the whole table, or on SQLite sorts what it found."""
    if "WITH RECURSIVE" in statement or not statement.startswith("SELECT"):
        return
    if connection.vendor == "postgresql":
        assert rows_read(statement, "audit_auditrow") <= 2 * max(WINDOW, CHAIN_WINDOW), statement
        return
    plan = " ".join(sqlite_plan(statement))
    assert "TEMP B-TREE" not in plan, (plan, statement)
    assert "SCAN audit_auditrow" not in plan or "LIMIT" in statement or "MAX(id)" in statement, (plan, statement)


def assert_a_range_is_found_at_once() -> None:
    question = questions()["an hour of one tenant"]
    with CaptureQueriesContext(connection) as queries:
        found = range_of(question["chain"], question["filters"])
    assert len(queries) == 3
    assert 0 < found.size <= ROWS // CHAINS


def assert_the_staffs_page_is_bounded_too() -> None:
    client = signed_in(staff("operator@platform.test"))
    for query in ({}, {"tag": "keys:key:destroyed"}, {"q": "f" * 64}, {"outcome": "denied", "actor": "client"}):
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/admin/audit/auditrow/", query).status_code == 200
        assert len(queries) <= 22, query
        for asked in queries.captured_queries:
            if "audit_auditrow" in asked["sql"]:
                assert_walks_no_table(asked["sql"])


def test_the_search_window_is_at_most_a_twentieth_of_the_million_rows() -> None:
    assert max(WINDOW, CHAIN_WINDOW) * 20 <= ROWS
