"""The roles of docs/operations.md, made as written there: what a later migration adds is the server's to use, too."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection

from tests.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite knows no roles"),
    pytest.mark.usefixtures("db"),
]


def documented() -> list[str]:
    """The SQL blocks of the section about roles, in their order."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = text[text.index("### PostgreSQL roles") : text.index("## What to watch")]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    """The server's role, which is the database's name as well, and the owner's; gone afterwards."""
    mark = f"keycast_{secrets.token_hex(4)}"
    yield mark, f"{mark}_owner"
    import psycopg

    with psycopg.connect(**_way("postgres"), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {mark} WITH (FORCE)")
        server.execute(f"DROP ROLE IF EXISTS {mark}")
        server.execute(f"DROP ROLE IF EXISTS {mark}_owner")


def _way(database: str, user: str = "") -> dict[str, str]:
    named = settings.DATABASES["default"]
    way = {"host": named["HOST"], "port": named["PORT"], "user": user or named["USER"], "password": named["PASSWORD"]}
    return {**{name: str(value) for name, value in way.items() if value}, "dbname": database}


def _url(database: str, user: str) -> str:
    named = settings.DATABASES["default"]
    return f"postgres://{user}@{named['HOST']}:{named['PORT']}/{database}"


def _manage(url: str, *arguments: str) -> bytes:
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout


def test_the_documented_roles_can_serve_and_cannot_change_the_log(names: tuple[str, str]) -> None:
    import psycopg

    role, owner = names
    blocks = [re.sub(r"\bkeycast\b", role, sql.replace("keycast_owner", owner)) for sql in documented()]
    before, inside = blocks
    with psycopg.connect(**_way("postgres"), autocommit=True) as server:
        for statement in before.splitlines():
            server.execute(statement)  # type: ignore[arg-type]
    with psycopg.connect(**_way(role, owner), autocommit=True) as database:
        database.execute(inside)  # type: ignore[arg-type]
        manage = [sys.executable, "manage.py"]
        environment = {**os.environ, "DATABASE_URL": _url(role, owner), "DJANGO_SETTINGS_MODULE": "tests.settings"}
        subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
        grants = subprocess.run(
            [*manage, "audit_grants", role], cwd=ROOT, env=environment, check=True, capture_output=True
        )
        database.execute(grants.stdout)
        database.execute("CREATE TABLE added_later (id serial)")
    with psycopg.connect(**_way(role, role), autocommit=True) as database:
        database.execute("INSERT INTO added_later DEFAULT VALUES")
        database.execute("UPDATE bunker_request SET state = 'published'")
        database.execute("SELECT * FROM audit_auditrow")
        for refused in ("DELETE FROM audit_auditrow", "UPDATE audit_auditrow SET data = ''", "DROP TABLE added_later"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.execute(refused)  # type: ignore[arg-type]
