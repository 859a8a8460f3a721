"""The first xdist worker that needs a database migrates it, the others take a copy: migrating takes seconds.

A copy is of this run alone, so it is never older than the migrations. Without xdist nothing is copied.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core import management
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.creation import BaseDatabaseCreation

FOLDER = "KEYCAST_TEST_TEMPLATE"
"""The variable that names the run's folder: a lock, and what was made."""

_create = BaseDatabaseCreation.create_test_db


class SqliteTemplate:
    """A file beside the lock."""

    def __init__(self, folder: Path, connection: BaseDatabaseWrapper) -> None:
        self._file = folder / "template.sqlite3"
        self._connection = connection

    @property
    def is_there(self) -> bool:
        return self._file.exists()

    def take(self) -> None:
        """Make the template of the database that was migrated just now."""
        self._connection.close()
        made = self._file.with_suffix(".part")
        with (
            closing(sqlite3.connect(self._connection.settings_dict["NAME"])) as source,
            closing(sqlite3.connect(made)) as target,
        ):
            source.backup(target)
        shutil.copymode(self._connection.settings_dict["NAME"], made)
        made.rename(self._file)

    @contextmanager
    def in_its_place(self) -> Iterator[None]:
        """What is created in here is a copy."""
        creation = self._connection.creation
        genuine = creation._create_test_db

        def copy(*args: Any, **options: Any) -> str:
            name: str = genuine(*args, **options)
            shutil.copy(self._file, name)
            return name

        with mock.patch.object(creation, "_create_test_db", copy):
            yield


class PostgresqlTemplate:
    """A database of the same server, named in a file beside the lock."""

    def __init__(self, folder: Path, connection: BaseDatabaseWrapper) -> None:
        self._note = folder / "template.name"
        self._name = f"keycast_{folder.name.replace('-', '_').lower()}"
        self._connection = connection

    @property
    def is_there(self) -> bool:
        return self._note.exists()

    def take(self) -> None:
        """Make the template of the database that was migrated just now."""
        self._connection.close()
        quote = self._connection.ops.quote_name
        source = quote(self._connection.settings_dict["NAME"])
        self._note.write_text(self._name)
        with self._connection.creation._nodb_cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f"CREATE DATABASE {quote(self._name)} TEMPLATE {source}")

    @contextmanager
    def in_its_place(self) -> Iterator[None]:
        """What is created in here is a copy."""
        with mock.patch.dict(self._connection.settings_dict["TEST"], {"TEMPLATE": self._name}):
            yield


KINDS = {"sqlite": SqliteTemplate, "postgresql": PostgresqlTemplate}


def create_test_db(self: BaseDatabaseCreation, *args: Any, **options: Any) -> str:
    """In place of BaseDatabaseCreation.create_test_db."""
    folder = Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        template = KINDS[self.connection.vendor](folder, self.connection)
        if not template.is_there:
            name = _create(self, *args, **options)
            template.take()
            return name
        with template.in_its_place(), mock.patch.object(management, "call_command"):
            return _create(self, *args, **options)


def _forget(folder: Path) -> None:
    """Called by the process that started the workers, once they have ended."""
    note = folder / "template.name"
    if note.exists():
        import psycopg
        from django.conf import settings

        named = settings.DATABASES["default"]
        known = {"host": named["HOST"], "port": named["PORT"], "user": named["USER"], "password": named["PASSWORD"]}
        wanted = {key: value for key, value in known.items() if value}
        with psycopg.connect(**wanted, dbname="postgres", autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{note.read_text()}"')
    shutil.rmtree(folder, ignore_errors=True)


def install(config: pytest.Config) -> None:
    """In a worker: use the run's template. In the process that starts workers: a folder for it while they live."""
    if hasattr(config, "workerinput"):
        if os.environ.get(FOLDER):
            BaseDatabaseCreation.create_test_db = create_test_db  # type: ignore[method-assign]
        return
    os.environ.pop(FOLDER, None)
    if config.getoption("numprocesses", None):
        folder = Path(tempfile.mkdtemp(prefix="template-"))
        os.environ[FOLDER] = str(folder)  # workers inherit it
        config.add_cleanup(lambda: _forget(folder))
