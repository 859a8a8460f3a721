"""Django's ``migrate``, one at a time: instances that start together wait for the first of them (threats R9)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    import psycopg

LOCK: Final = 0x6B657963  # "keyc", an advisory lock of this database


class Command(Migrate):
    """Everything else is Django's."""

    help = f"{Migrate.help} Waits for another one that is running."

    def execute(self, *args: Any, **options: Any) -> Any:
        # Around the system checks as well: one of Django's takes SQLite's write lock for a moment, and reports that
        # JSON is not supported when another migration holds it too long.
        with _alone(connections[options["database"]]):
            return super().execute(*args, **options)


@contextmanager
def _alone(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold the lock of this database; it ends with the process, however that ends."""
    if connection.vendor == "postgresql":
        with _session(connection) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            yield
    elif _is_file(connection):
        with _file(f"{connection.settings_dict['NAME']}.migrating") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _close_to_others(str(connection.settings_dict["NAME"]))
            yield
    else:
        yield


def _session(connection: BaseDatabaseWrapper) -> psycopg.Connection[Any]:
    """A connection of its own: the lock must outlive the transactions of the migrations."""
    import psycopg  # noqa: PLC0415 - installed with requirements/production.txt alone: an installation on SQLite lacks it

    parameters: dict[str, Any] = connection.get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "host", "port", "user", "password") if name in parameters}
    try:
        return psycopg.connect(**wanted, autocommit=True)
    except psycopg.OperationalError:
        raise CommandError("The database does not answer. Check DATABASE_URL and the server.") from None


def _is_file(connection: BaseDatabaseWrapper) -> bool:
    name = str(connection.settings_dict["NAME"])
    return ":memory:" not in name and "mode=memory" not in name and Path(name).parent.is_dir()


def _close_to_others(path: str) -> None:
    """Make SQLite's file its owner's alone, and what lies beside it, also where an earlier version left them open.

    New ones beside it get its mode. A file of another account is left as it is: a check tells of it (keycast.E034).
    """
    with _file(path):
        pass
    for file in (Path(path), Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


@contextmanager
def _file(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
