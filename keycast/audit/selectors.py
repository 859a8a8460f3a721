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

from keycast.audit.descriptions import outcome_word, sentence
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.tags import AuditOutcome
from keycast.base.errors import KeycastError

MAX_LIMIT = 500
_CLOCK_STEP = 3600 * 1_000_000  # by how much a clock set back may have put rows out of order, in microseconds


class BadCursor(KeycastError):
    """A page address that this log never gave out."""

    code = "bad-cursor"
    public_message = "This page address is not valid. Start again from the first page."


@dataclass(frozen=True, slots=True)
class AuditLine:
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
    id: int = 0


@dataclass(frozen=True, slots=True)
class AuditPage:
    """``lines``, newest first, and ``next_cursor`` for the page after this one: empty on the last."""

    lines: list[AuditLine]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What to show: tags and outcomes (none means any), one actor, one request, and a time range since <= at < until.

    Actors of requests and the requests themselves have no index: give a time range with them on a long log.
    """

    tags: Collection[str] = ()
    outcomes: Collection[str] = ()
    actor_id: str = ""
    request_id: str = ""
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    actor_type: str = ""
    key_id: str = ""
    connection_id: str = ""

    def as_query(self) -> Q:
        query = Q()
        for name in ("actor_type", "key_id", "connection_id"):
            if value := getattr(self, name):
                query &= Q(**{name: value})
        if self.tags:
            query &= Q(tag__in=list(self.tags))
        if self.outcomes:
            query &= Q(outcome__in=list(self.outcomes))
        if self.actor_id:
            query &= Q(actor_id=self.actor_id)
        if self.request_id:
            query &= Q(request_id=self.request_id)
        if self.since:
            query &= Q(at__gte=microseconds(self.since))
        if self.until:
            query &= Q(at__lt=microseconds(self.until))
        return query


def page(*, chain: str, filters: AuditFilters | None = None, cursor: str = "", limit: int = 50) -> AuditPage:
    """A page of one chain. Raises BadCursor."""
    filters = filters or AuditFilters()
    rows = _within(AuditRow.objects.filter(chain=chain), chain, filters).filter(filters.as_query())
    if cursor:
        rows = rows.filter(sequence__lt=parse_cursor(cursor))
    return _cut(rows.order_by("-sequence"), "sequence", limit)


def page_of_key(
    *,
    chain: str,
    key_id: str,
    connection_id: str = "",
    filters: AuditFilters | None = None,
    cursor: str = "",
    limit: int = 50,
) -> AuditPage:
    """What became of one key, or of one app's requests on it (ids: 32 hex digits): results and changes, no intents.

    The chain bounds it: the id of another tenant's key finds nothing. Raises BadCursor.
    """
    rows = AuditRow.objects.filter(chain=chain, key_id=key_id).exclude(outcome=AuditOutcome.INTENT)
    if connection_id:
        rows = rows.filter(connection_id=connection_id)
    return _by_id(rows, filters, cursor, limit)


def history_of_key(
    *, chain: str, key_id: str, filters: AuditFilters | None = None, cursor: str = "", limit: int = 50
) -> AuditPage:
    """What became of one key and its apps beside its use: no requests, so it costs the same after a million of them.

    Raises BadCursor.
    """
    rows = AuditRow.objects.filter(chain=chain, key_id=key_id, request_id="").exclude(key_id="")
    return _by_id(rows, filters, cursor, limit)


def page_of_person(
    *, chain: str, actor_id: str, filters: AuditFilters | None = None, cursor: str = "", limit: int = 50
) -> AuditPage:
    """What one person did in a tenant: sign-ins, changes of keys and apps. Raises BadCursor."""
    return _by_id(AuditRow.objects.filter(chain=chain, actor_id=actor_id, request_id=""), filters, cursor, limit)


def page_of_all_chains(*, filters: AuditFilters | None = None, cursor: str = "", limit: int = 50) -> AuditPage:
    """A page of every chain together. For platform staff alone: the caller answers for that. Raises BadCursor."""
    return _by_id(AuditRow.objects.all(), filters, cursor, limit)


def _by_id(rows: QuerySet[AuditRow], filters: AuditFilters | None, cursor: str, limit: int) -> AuditPage:
    rows = rows.filter((filters or AuditFilters()).as_query())
    if cursor:
        rows = rows.filter(id__lt=parse_cursor(cursor))
    return _cut(rows.order_by("-id"), "id", limit)


def _within(rows: QuerySet[AuditRow], chain: str, filters: AuditFilters) -> QuerySet[AuditRow]:
    """The stretch of the chain in which the time range can lie, so that nothing outside it is read."""
    if filters.since:
        rows = rows.filter(sequence__gte=_first_since(chain, microseconds(filters.since) - _CLOCK_STEP))
    if filters.until:
        rows = rows.filter(sequence__lt=_first_since(chain, microseconds(filters.until) + _CLOCK_STEP))
    return rows


def _first_since(chain: str, moment: int) -> int:
    """The sequence of the chain's first row at ``moment`` or later, by bisection: rows are in order of time."""
    head = AuditChain.objects.filter(name=chain).values_list("sequence", flat=True).first() or 0
    rows = AuditRow.objects.filter(chain=chain).values_list("at", flat=True)
    low, high = 1, head + 1
    while low < high:
        middle = (low + high) // 2
        at = rows.filter(sequence=middle).first()
        if at is None or at >= moment:
            high = middle
        else:
            low = middle + 1
    return low


def _cut(rows: QuerySet[AuditRow], order: str, limit: int) -> AuditPage:
    size = max(1, min(limit, MAX_LIMIT))
    found = list(rows[: size + 1])
    shown = found[:size]
    return AuditPage([line_of(row) for row in shown], str(getattr(shown[-1], order)) if len(found) > size else "")


def parse_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise BadCursor
    return int(cursor)


def line_of(row: AuditRow) -> AuditLine:
    return AuditLine(
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
        id=row.id,
    )


def microseconds(moment: datetime.datetime) -> int:
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
