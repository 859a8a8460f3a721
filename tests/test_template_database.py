"""Copies of a migrated database for the workers of one run."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests import template_database


def test_a_copy_of_a_sqlite_file_has_its_rows_and_its_mode_and_is_made_in_place_of_an_empty_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with closing(sqlite3.connect(first)) as database:
        database.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (n); INSERT INTO t VALUES (7)")
    first.chmod(0o600)

    def worker(name: Path) -> Any:
        creation = SimpleNamespace(_create_test_db=lambda *_: str(name))
        return SimpleNamespace(settings_dict={"NAME": str(name)}, close=lambda: None, creation=creation)

    template = template_database.SqliteTemplate(tmp_path, worker(first))
    assert not template.is_there
    template.take()
    other = worker(second)
    template = template_database.SqliteTemplate(tmp_path, other)
    assert template.is_there
    with template.in_its_place():
        assert other.creation._create_test_db(1, True) == str(second)
    with closing(sqlite3.connect(second)) as database:
        assert database.execute("SELECT n FROM t").fetchall() == [(7,)]
    assert stat.S_IMODE(second.stat().st_mode) == 0o600


def test_without_workers_there_is_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(template_database.FOLDER, "/nonexistent")
    template_database.install(SimpleNamespace(getoption=lambda *_: None))  # type: ignore[arg-type]
    assert template_database.FOLDER not in os.environ


@pytest.mark.django_db
def test_the_database_of_this_process_has_every_migration_whether_copied_or_not() -> None:
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
    call_command("migrate", "--check", verbosity=0)
