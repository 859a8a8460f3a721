"""What every service on a key does beside its own change: the audit row and the signal, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from accounts.models import KeyMode
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record, record_all
from keycast.audit.tags import AuditOutcome, AuditTag
from keys import signals
from keys.models import PersonalKey

STATE_FIELDS = ("state", "state_reason", "state_set_by", "state_changed_at", "destruction_due_at")


def entry(
    key: PersonalKey, tag: AuditTag, actor: Actor, outcome: AuditOutcome = AuditOutcome.OK, **data: Any
) -> AuditEntry:
    """An audit row about ``key``, in its tenant's chain."""
    return AuditEntry(chain_of(key.tenant_id), tag, outcome, actor, key_id=key.id.hex, data=data)


def custody(key: PersonalKey) -> dict[str, Any]:
    """How a key is kept, for an audit row's data: its mode, and the provider of that mode under its own name."""
    name = "hsm_provider" if key.key_mode == KeyMode.HSM else "kek_provider"
    return {"mode": str(key.key_mode), name: str(getattr(key, name))}


def write(key: PersonalKey, tag: AuditTag, actor: Actor, outcome: AuditOutcome = AuditOutcome.OK, **data: Any) -> None:
    """Record one thing that happened to ``key`` and tell who listens."""
    record(entry(key, tag, actor, outcome, **data))
    signals.key_changed.send(sender=PersonalKey, key_id=key.id)


def write_added(entries: Sequence[AuditEntry], keys: Sequence[PersonalKey]) -> None:
    """Record a batch of new keys and tell who listens once."""
    record_all(entries)
    signals.keys_added.send(sender=PersonalKey, key_ids=[key.id for key in keys])


def save_state(key: PersonalKey, *more: str) -> None:
    """Store a changed state, and the fields that ``more`` names."""
    key.state_changed_at = timezone.now()
    key.save(update_fields=[*STATE_FIELDS, *more])
