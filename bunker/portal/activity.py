"""What a key and its apps did, read from the audit log and put in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet

from bunker.models import Connection
from bunker.policy import kind_name
from keycast.audit.models import AuditRow
from keycast.audit.sentences import outcome_word, sentence
from keycast.audit.services import chain_of
from keycast.audit.tags import Outcome, Tag
from keys.models import PersonalKey

PAGE_SIZE = 25
FILTERS = {
    "": "Everything",
    "ok": "Done",
    "denied": "Refused",
    "failed": "Failed",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. ``who`` is the actor's label: an app's own claim, or a person's e-mail address."""

    what: str
    detail: str
    reason: str
    who: str
    outcome: str
    outcome_word: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first; ``older`` is the cursor of the next page, None on the last one."""

    lines: tuple[Line, ...]
    older: int | None
    outcome: str


def activity_of_connection(connection: Connection, *, outcome: str = "", before: str = "") -> Page:
    """What one app did and what was done about it. The caller has checked that it is the reader's."""
    what = {"key_id": connection.key_id.hex, "connection_id": connection.id.hex}  # the log's index is by key
    return _page(_chain(connection.tenant_id, **what), outcome, before)


def activity_of_key(key: PersonalKey, *, outcome: str = "", before: str = "") -> Page:
    """What one key did, through whatever app. The caller has checked that it is the reader's."""
    return _page(_chain(key.tenant_id, key_id=key.id.hex), outcome, before)


def _chain(tenant_id: Any, **what: str) -> QuerySet[AuditRow]:
    # An intent is the first half of a row that follows; on its own it would read as if done twice.
    return AuditRow.objects.filter(chain=chain_of(tenant_id), **what).exclude(outcome=Outcome.INTENT)


def _page(rows: QuerySet[AuditRow], outcome: str, before: str) -> Page:
    outcome = outcome if outcome in FILTERS else ""
    if outcome == "failed":
        rows = rows.filter(outcome__in=[Outcome.FAILED, Outcome.UNKNOWN])
    elif outcome:
        rows = rows.filter(outcome=outcome)
    if before.isascii() and before.isdigit() and len(before) <= 18:
        rows = rows.filter(Q(id__lt=int(before)))
    found = list(rows.order_by("-id")[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    return Page(tuple(map(_line, shown)), shown[-1].id if len(found) > PAGE_SIZE else None, outcome)


def _line(row: AuditRow) -> Line:
    data = _data(row.data)
    return Line(
        what=_what(row, data),
        detail=_detail(row, data),
        reason=str(data.get("reason", ""))[:300],
        who=row.actor_label,
        outcome=row.outcome,
        outcome_word=outcome_word(row.outcome),
        at=datetime.fromtimestamp(row.at / 1_000_000, UTC),
    )


def _what(row: AuditRow, data: Mapping[str, Any]) -> str:
    kind = data.get("kind")
    if row.tag == Tag.SIGN_EVENT and type(kind) is int:
        return f"Sign: {kind_name(kind)}"
    return sentence(row.tag)


def _detail(row: AuditRow, data: Mapping[str, Any]) -> str:
    kind = data.get("kind")
    parts = [f"kind {kind}"] if row.tag == Tag.SIGN_EVENT and type(kind) is int else []
    if row.tag == Tag.UNKNOWN_METHOD and isinstance(data.get("method"), str):
        parts.append(str(data["method"])[:64])
    return ", ".join(parts)


def _data(text: str) -> Mapping[str, Any]:
    """The row's data; rows are written by this program, but a log must stay readable whatever is in it."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
