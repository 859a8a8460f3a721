"""Triggers by which the database itself refuses to change history (threats A5), for SQLite and PostgreSQL.

They bind every role, the owner of the tables included; only somebody who may change the schema can remove them.
docs/operations.md shows the grants that keep the role of the running server from doing so.
"""

from __future__ import annotations

from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

MESSAGE = "audit rows are append-only"
HEAD_MESSAGE = "the head of an audit chain only moves forward"
SIGNED_MESSAGE = "checkpoints and cuts of the audit log stay as they were signed"

_SQLITE_ROWS = (
    f"""CREATE TRIGGER audit_row_no_update BEFORE UPDATE ON audit_auditrow
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
_SQLITE_NO_DELETE = f"""CREATE TRIGGER audit_row_no_delete BEFORE DELETE ON audit_auditrow
    BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"""
_SQLITE_SIGNED = (
    f"""CREATE TRIGGER audit_row_no_delete BEFORE DELETE ON audit_auditrow
        WHEN NOT EXISTS (SELECT 1 FROM audit_auditcut WHERE chain = OLD.chain AND through >= OLD.sequence)
        BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END""",  # noqa: S608 -- constants
    *(
        statement
        for name, columns, unique in (
            ("checkpoint", "id, chain, number, size, root, head, previous, at, key, signature, frontier", "size"),
            (
                "cut",
                "id, chain, number, first, through, count, root, head, at, actor, reason, key, signature",
                "through",
            ),
        )
        for statement in (
            f"""CREATE TRIGGER audit_{name}_no_delete BEFORE DELETE ON audit_audit{name}
                BEGIN SELECT RAISE(ABORT, '{SIGNED_MESSAGE}'); END""",
            f"""CREATE TRIGGER audit_{name}_no_update BEFORE UPDATE OF {columns} ON audit_audit{name}
                BEGIN SELECT RAISE(ABORT, '{SIGNED_MESSAGE}'); END""",
            f"""CREATE TRIGGER audit_{name}_no_replace BEFORE INSERT ON audit_audit{name}
                WHEN EXISTS (SELECT 1 FROM audit_audit{name} WHERE id = NEW.id)
                  OR EXISTS (SELECT 1 FROM audit_audit{name} WHERE chain = NEW.chain AND number = NEW.number)
                  OR EXISTS (SELECT 1 FROM audit_audit{name} WHERE chain = NEW.chain AND {unique} = NEW.{unique})
                BEGIN SELECT RAISE(ABORT, '{SIGNED_MESSAGE}'); END""",  # noqa: S608 -- constants
        )
    ),
)
_SQLITE_NAMES = frozenset(
    {
        *("audit_row_no_update", "audit_row_no_delete", "audit_row_no_replace"),
        *("audit_chain_no_delete", "audit_chain_forward", "audit_chain_no_replace"),
        *("audit_checkpoint_no_delete", "audit_checkpoint_no_update", "audit_checkpoint_no_replace"),
        *("audit_cut_no_delete", "audit_cut_no_update", "audit_cut_no_replace"),
    }
)
_POSTGRESQL_ROWS = (
    f"""CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'insufficient_privilege'; END $$""",
    f"""CREATE OR REPLACE FUNCTION audit_refuse_rewind() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{HEAD_MESSAGE}' USING ERRCODE = 'insufficient_privilege'; END $$""",
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
_POSTGRESQL_NO_DELETE = """CREATE TRIGGER audit_row_no_change BEFORE UPDATE OR DELETE ON audit_auditrow
    FOR EACH ROW EXECUTE FUNCTION audit_refuse()"""
_POSTGRESQL_SIGNED = (
    f"""CREATE OR REPLACE FUNCTION audit_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM audit_auditcut WHERE chain = OLD.chain AND through >= OLD.sequence) THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'insufficient_privilege';
        END $$""",  # noqa: S608 -- constants
    f"""CREATE OR REPLACE FUNCTION audit_refuse_signed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF to_jsonb(NEW) - 'is_published' = to_jsonb(OLD) - 'is_published' THEN RETURN NEW; END IF;
            END IF;
            RAISE EXCEPTION '{SIGNED_MESSAGE}' USING ERRCODE = 'insufficient_privilege';
        END $$""",
    """CREATE TRIGGER audit_row_no_change BEFORE UPDATE ON audit_auditrow
        FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    """CREATE TRIGGER audit_row_no_delete BEFORE DELETE ON audit_auditrow
        FOR EACH ROW EXECUTE FUNCTION audit_refuse_delete()""",
    *(
        statement
        for name in ("checkpoint", "cut")
        for statement in (
            f"""CREATE TRIGGER audit_{name}_no_change BEFORE UPDATE OR DELETE ON audit_audit{name}
                FOR EACH ROW EXECUTE FUNCTION audit_refuse_signed()""",
            f"""CREATE TRIGGER audit_{name}_no_truncate BEFORE TRUNCATE ON audit_audit{name}
                FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_signed()""",
        )
    ),
)
_POSTGRESQL_NAMES = frozenset(
    {
        *("audit_row_no_change", "audit_row_no_delete", "audit_row_no_truncate", "audit_chain_no_delete"),
        *("audit_chain_no_truncate", "audit_chain_forward", "audit_chain_from_start"),
        *("audit_checkpoint_no_change", "audit_checkpoint_no_truncate", "audit_cut_no_change", "audit_cut_no_truncate"),
    }
)
_POSTGRESQL_REMOVE = (
    "DROP FUNCTION IF EXISTS audit_refuse() CASCADE",
    "DROP FUNCTION IF EXISTS audit_refuse_rewind() CASCADE",
    "DROP FUNCTION IF EXISTS audit_refuse_delete() CASCADE",
    "DROP FUNCTION IF EXISTS audit_refuse_signed() CASCADE",
)


class Executor(Protocol):
    """A database cursor, or a schema editor."""

    def execute(self, sql: str) -> object: ...


def install(executor: Executor, vendor: str) -> None:
    """Create the triggers; ``vendor`` is ``sqlite`` or ``postgresql``.

    A row can be deleted only below a cut (keycast.audit.cutting), and a cut, once it is there, stays.
    """
    rows, signed = (_POSTGRESQL_ROWS, _POSTGRESQL_SIGNED) if vendor == "postgresql" else (_SQLITE_ROWS, _SQLITE_SIGNED)
    _create(executor, vendor, (*rows, *signed))


def install_without_cuts(executor: Executor, vendor: str) -> None:
    """Create those that there were before checkpoints and cuts had tables: for the migration that came first."""
    if vendor == "postgresql":
        _create(executor, vendor, (*_POSTGRESQL_ROWS, _POSTGRESQL_NO_DELETE))
    else:
        _create(executor, vendor, (*_SQLITE_ROWS, _SQLITE_NO_DELETE))


def _create(executor: Executor, vendor: str, statements: tuple[str, ...]) -> None:
    remove(executor, vendor)
    for statement in statements:
        executor.execute(statement)


def remove(executor: Executor, vendor: str) -> None:
    """Drop them: for reverting the migration, and for a test suite that empties its tables."""
    sqlite = [f"DROP TRIGGER IF EXISTS {name}" for name in sorted(_SQLITE_NAMES)]
    for statement in _POSTGRESQL_REMOVE if vendor == "postgresql" else sqlite:
        executor.execute(statement)


def wanted(vendor: str) -> frozenset[str]:
    """The names of all triggers."""
    return _POSTGRESQL_NAMES if vendor == "postgresql" else _SQLITE_NAMES


def missing(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """The names of triggers that are not there, or switched off: history is unprotected while there are any."""
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if connection.vendor == "postgresql":
        query = "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return wanted(connection.vendor) - {row[0] for row in cursor.fetchall()}
