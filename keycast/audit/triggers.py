"""Triggers by which the database itself refuses to change history (threats A5), for SQLite and PostgreSQL.

They bind every role, the owner of the tables included; only somebody who may change the schema can remove them.
docs/operations.md shows the grants that keep the role of the running server from doing so.
"""

from __future__ import annotations

from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

MESSAGE = "audit rows are append-only"
HEAD_MESSAGE = "the head of an audit chain only moves forward"

_SQLITE_INSTALL = (
    f"""CREATE TRIGGER audit_row_no_update BEFORE UPDATE ON audit_auditrow
        BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END""",
    f"""CREATE TRIGGER audit_row_no_delete BEFORE DELETE ON audit_auditrow
        BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END""",
    # INSERT OR REPLACE deletes without firing a delete trigger, unless recursive_triggers is on.
    f"""CREATE TRIGGER audit_row_no_replace BEFORE INSERT ON audit_auditrow
        WHEN EXISTS (SELECT 1 FROM audit_auditrow WHERE chain = NEW.chain AND sequence = NEW.sequence)
          OR EXISTS (SELECT 1 FROM audit_auditrow WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END""",  # noqa: S608 -- constants
    f"""CREATE TRIGGER audit_chain_no_delete BEFORE DELETE ON audit_auditchain
        BEGIN SELECT RAISE(ABORT, '{HEAD_MESSAGE}'); END""",
    f"""CREATE TRIGGER audit_chain_forward BEFORE UPDATE ON audit_auditchain
        WHEN NEW.sequence <= OLD.sequence OR NEW.name IS NOT OLD.name
        BEGIN SELECT RAISE(ABORT, '{HEAD_MESSAGE}'); END""",
    f"""CREATE TRIGGER audit_chain_no_replace BEFORE INSERT ON audit_auditchain
        WHEN NEW.sequence <> 0 OR EXISTS (SELECT 1 FROM audit_auditchain WHERE name = NEW.name)
        BEGIN SELECT RAISE(ABORT, '{HEAD_MESSAGE}'); END""",  # noqa: S608 -- constants
)
_SQLITE_NAMES = frozenset(
    {
        *("audit_row_no_update", "audit_row_no_delete", "audit_row_no_replace"),
        *("audit_chain_no_delete", "audit_chain_forward", "audit_chain_no_replace"),
    }
)
_POSTGRESQL_INSTALL = (
    f"""CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'insufficient_privilege'; END $$""",
    f"""CREATE OR REPLACE FUNCTION audit_refuse_rewind() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{HEAD_MESSAGE}' USING ERRCODE = 'insufficient_privilege'; END $$""",
    """CREATE TRIGGER audit_row_no_change BEFORE UPDATE OR DELETE ON audit_auditrow
        FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    """CREATE TRIGGER audit_row_no_truncate BEFORE TRUNCATE ON audit_auditrow
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()""",
    """CREATE TRIGGER audit_chain_no_delete BEFORE DELETE ON audit_auditchain
        FOR EACH ROW EXECUTE FUNCTION audit_refuse_rewind()""",
    """CREATE TRIGGER audit_chain_no_truncate BEFORE TRUNCATE ON audit_auditchain
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_rewind()""",
    """CREATE TRIGGER audit_chain_forward BEFORE UPDATE ON audit_auditchain FOR EACH ROW
        WHEN (NEW.sequence <= OLD.sequence OR NEW.name <> OLD.name) EXECUTE FUNCTION audit_refuse_rewind()""",
    """CREATE TRIGGER audit_chain_from_start BEFORE INSERT ON audit_auditchain FOR EACH ROW
        WHEN (NEW.sequence <> 0) EXECUTE FUNCTION audit_refuse_rewind()""",
)
_POSTGRESQL_NAMES = frozenset(
    {
        *("audit_row_no_change", "audit_row_no_truncate", "audit_chain_no_delete"),
        *("audit_chain_no_truncate", "audit_chain_forward", "audit_chain_from_start"),
    }
)
_POSTGRESQL_REMOVE = (
    "DROP FUNCTION IF EXISTS audit_refuse() CASCADE",
    "DROP FUNCTION IF EXISTS audit_refuse_rewind() CASCADE",
)


class Executor(Protocol):
    """A database cursor, or a schema editor."""

    def execute(self, sql: str) -> object: ...


def install(executor: Executor, vendor: str) -> None:
    """Create the triggers; ``vendor`` is ``sqlite`` or ``postgresql``."""
    remove(executor, vendor)
    for statement in _POSTGRESQL_INSTALL if vendor == "postgresql" else _SQLITE_INSTALL:
        executor.execute(statement)


def remove(executor: Executor, vendor: str) -> None:
    """Drop them: for reverting the migration, and for a test suite that empties its tables."""
    sqlite = [f"DROP TRIGGER IF EXISTS {name}" for name in sorted(_SQLITE_NAMES)]
    for statement in _POSTGRESQL_REMOVE if vendor == "postgresql" else sqlite:
        executor.execute(statement)


def missing(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """The names of triggers that are not there, or switched off: history is unprotected while there are any."""
    if connection.vendor == "postgresql":
        query, wanted = "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')", _POSTGRESQL_NAMES
    else:
        query, wanted = "SELECT name FROM sqlite_master WHERE type = 'trigger'", _SQLITE_NAMES
    with connection.cursor() as cursor:
        cursor.execute(query)
        return wanted - {row[0] for row in cursor.fetchall()}
