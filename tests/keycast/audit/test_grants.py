"""A role that was narrowed can append and read, and nothing else (threats A5)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.services import append
from keycast.audit.tags import AuditOutcome, AuditTag

ENTRY = AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test"))


def grants(role: str) -> str:
    out = io.StringIO()
    call_command("audit_grants", role, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("role", ["", "web; DROP TABLE x", 'we"b', "Web", "1web", "w" * 64, "web\n"])
def test_a_name_that_is_no_plain_role_is_refused(role: str) -> None:
    with pytest.raises(CommandError):
        grants(role)


@pytest.fixture
def _narrow_role(db: None) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite knows no roles; the triggers stand alone there.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            pytest.skip("This database's role may not create another.")
        cursor.execute("CREATE ROLE keycast_narrow")
        cursor.execute(grants("keycast_narrow"))
        cursor.execute("GRANT keycast_narrow TO current_user")
        cursor.execute("SET LOCAL ROLE keycast_narrow")
        yield
        cursor.execute("RESET ROLE")


@pytest.mark.usefixtures("_narrow_role")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditrow SET data = ''",
        "DELETE FROM audit_auditrow",
        "TRUNCATE audit_auditrow",
        "DELETE FROM audit_auditchain",
        "DROP TRIGGER audit_row_no_change ON audit_auditrow",
        "ALTER TABLE audit_auditrow DISABLE TRIGGER ALL",
    ],
)
def test_the_narrowed_role_appends_and_reads_only(statement: str) -> None:
    with connection.cursor() as cursor:
        append(cursor, [ENTRY, ENTRY])
        with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), transaction.atomic():
            cursor.execute(statement)
    assert AuditRow.objects.count() == 2
