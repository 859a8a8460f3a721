"""Dumps of the database, and a second database to restore one into: SQLite by its own copy, PostgreSQL by its tools."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.db import connection

if TYPE_CHECKING:
    import psycopg

SECONDS: Final = 6 * 3600
"""Longest that a tool of PostgreSQL's may take."""
AS_IT_IS: Final = ("--no-owner", "--no-privileges", "--exit-on-error")
"""Whoever rehearses owns what they restore: roles and default privileges of the dump are not theirs to set."""


class CannotRestore(Exception):
    """The dump could not be made or restored; the text is for operators and holds no password."""


def dump(folder: Path) -> Path:
    """A dump of the database as it is now, in ``folder``, readable by its owner alone. Raises CannotRestore."""
    if connection.vendor == "sqlite":
        target = folder / "dump.sqlite3"
        target.touch(mode=0o600)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(target)])
        return target
    target = folder / "dump.pgdump"
    target.touch(mode=0o600)
    name = {"PGDATABASE": str(connection.settings_dict["NAME"])}
    _run("pg_dump", "--format=custom", "--no-owner", f"--file={target}", environment={**_ours(), **name})
    return target


@contextmanager
def restored(dump_file: Path, folder: Path, into: str = "") -> Iterator[str]:
    """The DATABASE_URL of a database that holds the dump, gone afterwards.

    ``into`` names an empty PostgreSQL database to use instead of a fresh one; that one is left as it is then. Without a
    password in it, ours is used. Raises CannotRestore.
    """
    if connection.vendor == "sqlite":
        copy = folder / "restored.sqlite3"
        copy.touch(mode=0o600)
        shutil.copyfile(dump_file, copy)
        yield f"sqlite:///{copy}"
    elif into:
        password = {} if urlsplit(into).password else {"PGPASSWORD": _parameters().get("password", "")}
        _run("pg_restore", *AS_IT_IS, f"--dbname={into}", str(dump_file), environment=password)
        yield _with_password(into)
    else:
        with _spare_database() as name:
            _run("pg_restore", *AS_IT_IS, f"--dbname={name}", str(dump_file), environment=_ours())
            yield _url(name)


@contextmanager
def _spare_database() -> Iterator[str]:
    """A fresh database on the same server, dropped at the end."""
    import psycopg  # noqa: PLC0415 - in requirements/production.txt alone, as below
    from psycopg import sql  # noqa: PLC0415

    name = f"keycast_restore_check_{secrets.token_hex(4)}"
    try:
        with _maintenance() as server:
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise CannotRestore(
            f"This role cannot make a database to restore into ({type(error).__name__}): name one with --into."
        ) from None
    try:
        yield name
    finally:
        with _maintenance() as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _maintenance() -> psycopg.Connection[Any]:
    """A connection to the same server, outside any transaction."""
    import psycopg  # noqa: PLC0415

    return psycopg.connect(**_parameters(), dbname=str(connection.settings_dict["NAME"]), autocommit=True)


def _parameters() -> dict[str, Any]:
    named = settings.DATABASES["default"]
    found = {"host": named.get("HOST"), "port": named.get("PORT"), "user": named.get("USER")}
    found["password"] = named.get("PASSWORD")
    return {name: str(value) for name, value in found.items() if value}


def _url(name: str) -> str:
    """The address of another database of the same server, for a child process's environment."""
    known = _parameters()
    who = quote(known.get("user", ""), safe="")
    if "password" in known:
        who += f":{quote(known['password'], safe='')}"
    host = quote(known.get("host", ""), safe="")
    port = f":{known['port']}" if "port" in known else ""
    return f"postgres://{who}@{host}{port}/{name}"


def _with_password(into: str) -> str:
    """An address with our password where it has none, for a child process's environment."""
    parts, password = urlsplit(into), _parameters().get("password", "")
    if parts.password or not password:
        return into
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


def _ours() -> dict[str, str]:
    """The way to our server as PostgreSQL's tools read it; a password stands in no argument, where ps shows it."""
    variables = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    return {variables[name]: value for name, value in _parameters().items()}


def _run(tool: str, *arguments: str, environment: dict[str, str]) -> None:
    """Run one of PostgreSQL's tools. Raises CannotRestore."""
    environment = {**os.environ, **environment}
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed tool, arguments of our own
            [tool, *arguments], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        raise CannotRestore(f"{tool} is not installed here (on Debian: apt-get install postgresql-client).") from None
    except subprocess.TimeoutExpired:
        raise CannotRestore(f"{tool} took longer than {SECONDS // 3600} hours.") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else f"exit code {done.returncode}"
        raise CannotRestore(f"{tool}: {reason}")
