"""What was changed about a tenant lately, out of its own part of the audit log."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import Any, Final

from accounts.models import Tenant
from keycast.audit.descriptions import sentence
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.services import chain_of
from keycast.audit.tags import AuditTag

TAGS: Final = tuple(tag.value for tag in AuditTag if tag.value.startswith(("accounts:tenant:", "accounts:domain:")))
LOOKED_AT: Final = 20_000
"""So many of the newest rows are looked at, however long the log is."""
SHOWN: Final = 10
_WORDS: Final = {
    "key_modes": "ways of keeping keys",
    "default_key_mode": "default way of keeping keys",
    "export_wait_hours": "whether keys may be exported, and after how long",
    "accent": "colour",
    "default_policy": "first policy",
}


@dataclass(frozen=True, slots=True)
class TenantChange:
    """One change: what, of which thing, by whom, when (UTC)."""

    what: str
    detail: str
    who: str
    at: datetime.datetime


def recent_changes(tenant: Tenant) -> list[TenantChange]:
    """The newest changes of settings, host names, limits and state, newest first. Two queries."""
    chain = chain_of(tenant.id)
    head = AuditChain.objects.filter(name=chain).values_list("sequence", flat=True).first() or 0
    # A place that was never changed would otherwise have its whole log read for this page.
    rows = AuditRow.objects.filter(chain=chain, sequence__gt=head - LOOKED_AT, tag__in=TAGS).order_by("-sequence")
    found = rows.values_list("tag", "actor_label", "at", "data")[:SHOWN]
    return [TenantChange(sentence(tag), _detail(_mapping(data)), who, _moment(at)) for tag, who, at, data in found]


def _detail(data: dict[str, Any]) -> str:
    if "host" in data:
        return str(data["host"])
    before = data.get("before")
    names = list(before) if isinstance(before, dict) else [name for name in data if name not in {"reason", "slug"}]
    return ", ".join(_WORDS.get(name, name) for name in names) or str(data.get("reason", ""))


def _mapping(data: Any) -> dict[str, Any]:
    value = json.loads(data) if isinstance(data, str) else data
    return value if isinstance(value, dict) else {}


def _moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=microseconds)
