"""The verbs of the audit log: record, append, verify."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from keycast.audit.entries import Entry
from keycast.audit.verification import Report, verify
from keycast.audit.writing import append

__all__ = ["PLATFORM", "Report", "append", "chain_of", "record", "verify"]

PLATFORM = "platform"


def chain_of(tenant_id: UUID | None) -> str:
    """The name of a tenant's chain; the platform's own for what belongs to no tenant."""
    return tenant_id.hex if tenant_id else PLATFORM


def record(entry: Entry) -> None:
    """Write one row inside the caller's atomic block. Raises AuditUnavailable, which must end that block."""
    with connection.cursor() as cursor:
        append(cursor, [entry])
