"""The database itself refuses to change history (threats A5)."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from keycast.audit import triggers
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.services import record
from keycast.audit.tags import AuditOutcome, AuditTag

FORBIDDEN = [
    "UPDATE audit_auditrow SET actor_label = 'somebody else'",
    "UPDATE audit_auditrow SET sequence = sequence + 1",
    "DELETE FROM audit_auditrow",
    "DELETE FROM audit_auditchain",
    "UPDATE audit_auditchain SET sequence = sequence - 1",
    "UPDATE audit_auditchain SET head = %s",
    "UPDATE audit_auditchain SET sequence = sequence + 1, name = 'other'",
    "INSERT INTO audit_auditchain (name, sequence, head) VALUES ('ahead', 7, %s)",
]
FORBIDDEN_ON = {
    "postgresql": [*FORBIDDEN, "TRUNCATE audit_auditrow", "TRUNCATE audit_auditchain"],
    "sqlite": [
        *FORBIDDEN,
        "INSERT OR REPLACE INTO audit_auditchain (name, sequence, head) VALUES ('platform', 0, %s)",
        "INSERT OR REPLACE INTO audit_auditrow SELECT * FROM audit_auditrow",
        "UPDATE OR REPLACE audit_auditrow SET id = id",
    ],
}


def written() -> tuple[object, ...]:
    return (*AuditRow.objects.order_by("id").values_list(), *AuditChain.objects.values_list())


@pytest.mark.django_db
@pytest.mark.parametrize("statement", range(len(FORBIDDEN) + 3))
def test_history_cannot_be_changed(statement: int) -> None:
    for _ in range(2):
        record(AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test")))
    before = written()
    statements = FORBIDDEN_ON[connection.vendor]
    sql = statements[min(statement, len(statements) - 1)]
    refused = pytest.raises(DatabaseError, match=r"append-only|only moves forward")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, [b"x" * 32] if "%s" in sql else None)
    assert written() == before


@pytest.mark.django_db
def test_every_trigger_is_missed_when_it_is_gone_or_switched_off() -> None:
    assert triggers.missing(connection) == frozenset()
    gone = "DROP TRIGGER audit_row_no_delete"
    off = "ALTER TABLE audit_auditrow DISABLE TRIGGER audit_row_no_change"
    with connection.cursor() as cursor:
        cursor.execute(off if connection.vendor == "postgresql" else gone)
    assert len(triggers.missing(connection)) == 1


@pytest.mark.django_db
def test_the_orm_cannot_change_history_either() -> None:
    record(AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test")))
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditRow.objects.all().delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditRow.objects.get().save()


@pytest.mark.django_db(transaction=True)
def test_the_suite_can_flush_and_the_triggers_are_back_afterwards() -> None:
    record_one()
    call_command("flush", interactive=False, verbosity=0)
    assert not AuditRow.objects.exists()
    record_one()
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditRow.objects.all().delete()


@transaction.atomic
def record_one() -> None:
    record(AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test")))
