"""Reading the log for people: one page at a time, newest first, always within what the caller names.

Pages follow each other by key, not by offset, so a page costs the same however long the log is and however far back.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from keycast.audit.models import AuditRow
from keycast.audit.sentences import outcome_word, sentence
from keycast.errors import KeycastError

MAX_LIMIT = 500


class BadCursor(KeycastError):
    """A page address that this log never gave out."""

    code = "bad-cursor"
    public_message = "This page address is not valid. Start again from the first page."


@dataclass(frozen=True, slots=True)
class Line:
    """One row as people read it. ``at`` is UTC; ``actor_label`` is an app's own claim when ``actor_type`` is client."""

    chain: str
    sequence: int
    at: datetime.datetime
    tag: str
    sentence: str
    outcome: str
    outcome_word: str
    actor_type: str
    actor_id: str
    actor_label: str
    key_id: str
    connection_id: str
    request_id: str
    data: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Page:
    """``lines``, newest first, and ``next_cursor`` for the page after this one: empty on the last."""

    lines: list[Line]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What to show: tags and outcomes (none means any), one actor, and a time range ``since`` <= at < ``until``."""

    tags: Collection[str] = ()
    outcomes: Collection[str] = ()
    actor_id: str = ""
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    def as_query(self) -> Q:
        query = Q()
        if self.tags:
            query &= Q(tag__in=list(self.tags))
        if self.outcomes:
            query &= Q(outcome__in=list(self.outcomes))
        if self.actor_id:
            query &= Q(actor_id=self.actor_id)
        if self.since:
            query &= Q(at__gte=_microseconds(self.since))
        if self.until:
            query &= Q(at__lt=_microseconds(self.until))
        return query


def page(
    *,
    chain: str,
    key_id: str = "",
    connection_id: str = "",
    request_id: str = "",
    filters: Filters | None = None,
    cursor: str = "",
    limit: int = 50,
) -> Page:
    """A page of one chain, narrowed to a key, connection or request of it if asked (ids: hex digits, no dashes).

    The chain bounds everything: an id of another tenant's key finds nothing. Raises BadCursor.
    """
    rows = AuditRow.objects.filter(chain=chain)
    for name, value in (("key_id", key_id), ("connection_id", connection_id), ("request_id", request_id)):
        if value:
            rows = rows.filter(**{name: value})
    return _page(rows, filters or Filters(), cursor, limit)


def page_of_all_chains(*, filters: Filters | None = None, cursor: str = "", limit: int = 50) -> Page:
    """A page of every chain together. For platform staff alone: the caller answers for that."""
    rows = AuditRow.objects.filter((filters or Filters()).as_query()).order_by("-id")
    if cursor:
        rows = rows.filter(id__lt=_parse(cursor)[1])
    return _cut(rows, limit)


def _page(rows: QuerySet[AuditRow], filters: Filters, cursor: str, limit: int) -> Page:
    rows = rows.filter(filters.as_query()).order_by("-at", "-id")
    if cursor:
        at, row_id = _parse(cursor)
        rows = rows.filter(Q(at__lte=at), ~Q(at=at) | Q(id__lt=row_id))
    return _cut(rows, limit)


def _cut(rows: QuerySet[AuditRow], limit: int) -> Page:
    size = max(1, min(limit, MAX_LIMIT))
    found = list(rows[: size + 1])
    shown = found[:size]
    cursor = f"{shown[-1].at}.{shown[-1].id}" if len(found) > size else ""
    return Page([_line(row) for row in shown], cursor)


def _parse(cursor: str) -> tuple[int, int]:
    at, dot, row_id = cursor.partition(".")
    if not (dot and at.isascii() and at.isdigit() and row_id.isascii() and row_id.isdigit() and len(cursor) <= 38):
        raise BadCursor
    numbers = int(at), int(row_id)
    if max(numbers) >= 2**63:
        raise BadCursor
    return numbers


def _line(row: AuditRow) -> Line:
    return Line(
        chain=row.chain,
        sequence=row.sequence,
        at=datetime.datetime.fromtimestamp(row.at / 1_000_000, datetime.UTC),
        tag=row.tag,
        sentence=sentence(row.tag),
        outcome=row.outcome,
        outcome_word=outcome_word(row.outcome),
        actor_type=row.actor_type,
        actor_id=row.actor_id,
        actor_label=row.actor_label,
        key_id=row.key_id,
        connection_id=row.connection_id,
        request_id=row.request_id,
        data=json.loads(row.data),
        hash=bytes(row.hash).hex(),
    )


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
