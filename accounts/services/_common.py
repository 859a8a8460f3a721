"""What every service of this app does beside its own work: one audit row, one signal, in the caller's transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import PLATFORM, chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag


def write(tag: AuditTag, actor: Actor, *, tenant_id: UUID | None = None, **data: Any) -> None:
    """One row in the tenant's chain, or in the platform's. Raises AuditUnavailable."""
    chain = chain_of(tenant_id) if tenant_id else PLATFORM
    record(AuditEntry(chain, tag, AuditOutcome.OK, actor, data=data))
