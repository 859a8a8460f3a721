"""The services of the audit log: record, append, verify."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from keycast.audit import journal_writer
from keycast.audit.entries import AuditEntry
from keycast.audit.verification import VerificationReport, verify
from keycast.audit.writer import append

__all__ = ["PLATFORM", "VerificationReport", "append", "chain_of", "record", "record_all", "verify"]

PLATFORM = "platform"


def chain_of(tenant_id: UUID | None) -> str:
    """The name of a tenant's chain; the platform's own for what belongs to no tenant."""
    return tenant_id.hex if tenant_id else PLATFORM


def record(entry: AuditEntry) -> None:
    """Write one row inside the caller's atomic block. Raises AuditUnavailable, which must end that block."""
    record_all([entry])


def record_all(entries: Sequence[AuditEntry]) -> None:
    """Write several rows, as ``record`` does; what must not come undone is kept outside the database as well."""
    journal_writer.require_current()
    with connection.cursor() as cursor:
        journal_writer.append_after_commit(append(cursor, entries))
