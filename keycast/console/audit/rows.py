"""Rows of the log with the names that belong to them today, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, QueryDict

from accounts.models import Tenant
from bunker.models import Connection
from keycast.audit.browsing import AuditBrowsePage
from keycast.audit.selectors import AuditLine
from keycast.audit.services import PLATFORM
from keys.models import PersonalKey


@dataclass(frozen=True, slots=True)
class AuditRowDisplay:
    """One line, its row's address in the admin, and names: ``""`` where there is nothing (any more) to name."""

    line: AuditLine
    row_id: int
    tenant: str
    key: str
    app: str
    reason: str


def shown(sheet: AuditBrowsePage) -> list[AuditRowDisplay]:
    """The lines of a page with their names."""
    lines = sheet.lines
    tenants = {row.id.hex: row.name for row in Tenant.objects.filter(id__in=_ids(line.chain for line in lines))}
    keys = {row.id.hex: row.name for row in PersonalKey.objects.filter(id__in=_ids(line.key_id for line in lines))}
    apps = {
        row.id.hex: row.name for row in Connection.objects.filter(id__in=_ids(line.connection_id for line in lines))
    }
    return [
        AuditRowDisplay(
            line,
            line.id,
            "Platform" if line.chain == PLATFORM else tenants.get(line.chain, line.chain),
            keys.get(line.key_id, ""),
            apps.get(line.connection_id, ""),
            reason_of(line),
        )
        for line in lines
    ]


def reason_of(line: AuditLine) -> str:
    """Why, if the row says it."""
    found = line.data.get("reason", "")
    return found[:200] if isinstance(found, str) else ""


def _ids(texts: Iterable[str]) -> set[UUID]:
    return {UUID(text) for text in texts if len(text) == 32 and text != PLATFORM}


def query_of(request: HttpRequest, **changes: str) -> str:
    """The address of another page with the same filters."""
    query: QueryDict = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    for name, value in changes.items():
        query[name] = value
    for name in [name for name, value in query.items() if not value]:
        del query[name]
    return query.urlencode()
