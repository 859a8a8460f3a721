"""Browsing the log for people, by any mix of filters, forwards and backwards, at the same cost however long it is.

What a person did and what became of a key is found by index. Everything else is looked for in a bounded stretch of the
rows before the place where the reader stands (WINDOW): what lies further back is a page further, and the page says so.
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q, QuerySet

from keycast.audit.models import AuditRow
from keycast.audit.positions import ends, first_since
from keycast.audit.selectors import AuditFilters, AuditLine, line_of, microseconds, parse_cursor
from keycast.audit.tags import AuditOutcome

WINDOW: Final = 25_000
"""Rows that one page looks through, of all chains together: they lie side by side."""
CHAIN_WINDOW: Final = 10_000
"""The same for one chain, whose rows lie among those of others."""
SCATTERED_WINDOW: Final = 2_500
"""The same for the rows of one key or person, each of which may lie on another page of the disk."""
MOST: Final = 200
CLOCK_TOLERANCE: Final = 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class AuditBrowsePage:
    """``lines``, newest first. ``older`` and ``newer`` are cursors, empty where there is nothing.

    ``is_partial``: there may be more lines further back than the stretch that was looked through, which ends at
    ``looked_back_to`` (UTC).
    """

    lines: list[AuditLine]
    older: str = ""
    newer: str = ""
    is_partial: bool = False
    looked_back_to: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class _RowOrder:
    """Rows in the order of ``position``, and what else they must be."""

    rows: QuerySet[AuditRow]
    position: str
    rest: Q
    has_rest: bool
    is_scattered: bool
    chain: str


def browse(
    *, filters: AuditFilters, chain: str = "", before: str = "", after: str = "", limit: int = 50
) -> AuditBrowsePage:
    """A page of one chain, or of all where ``chain`` is empty: the caller answers for that. Raises BadCursor.

    ``before`` and ``after`` are cursors of an earlier page with the same filters.
    """
    path = _path(chain, filters)
    low, high = _bounds(path, filters)
    size = max(1, min(limit, MOST))
    if after:
        return _newer_than(path, max(parse_cursor(after), low - 1), low, high, size)
    start = min(parse_cursor(before), high + 1) if before else high + 1
    return _older_than(path, start, low, high, size)


def _path(chain: str, filters: AuditFilters) -> _RowOrder:
    """The index that serves the filters best."""
    rows = AuditRow.objects.all()
    rest = dataclasses.replace(filters, since=None, until=None)
    wants_intents = AuditOutcome.INTENT in filters.outcomes
    in_chain = Q(chain=chain) if chain else Q()
    if filters.key_id and not wants_intents:
        rows = rows.filter(key_id=filters.key_id).exclude(outcome=AuditOutcome.INTENT)
        left = dataclasses.replace(rest, key_id="")
        return _RowOrder(rows, "id", left.as_query() & in_chain & _at(filters), True, True, "")
    if len(filters.actor_id) == 32:
        rows = rows.filter(actor_id=filters.actor_id, request_id="")
        left = dataclasses.replace(rest, actor_id="")
        return _RowOrder(rows, "id", left.as_query() & in_chain & _at(filters), True, True, "")
    query = rest.as_query()
    has_rest = bool(query) or bool(_at(filters))
    if chain:
        return _RowOrder(rows.filter(chain=chain), "sequence", query & _at(filters), has_rest, False, chain)
    return _RowOrder(rows, "id", query & _at(filters), has_rest, False, "")


def _at(filters: AuditFilters) -> Q:
    return AuditFilters(since=filters.since, until=filters.until).as_query()


def _bounds(path: _RowOrder, filters: AuditFilters) -> tuple[int, int]:
    """The first and last position that can be of interest."""
    low, high = span = ends(path.chain)
    if filters.since:
        low = max(low, first_since(microseconds(filters.since) - CLOCK_TOLERANCE, span, path.chain))
    if filters.until:
        high = min(high, first_since(microseconds(filters.until) + CLOCK_TOLERANCE, span, path.chain) - 1)
    return low, high


def _older_than(path: _RowOrder, start: int, low: int, high: int, size: int) -> AuditBrowsePage:
    floor = max(low, _floor(path, start, low))
    rows = path.rows.filter(**{f"{path.position}__lt": start, f"{path.position}__gte": floor}).filter(path.rest)
    found = list(rows.order_by(f"-{path.position}")[: size + 1])
    shown = found[:size]
    newer = str(_place(path, shown[0]) if shown else start - 1) if start <= high else ""
    if len(found) > size:
        return AuditBrowsePage([line_of(row) for row in shown], str(_place(path, shown[-1])), newer)
    if floor <= low:
        return AuditBrowsePage([line_of(row) for row in shown], "", newer)
    return AuditBrowsePage([line_of(row) for row in shown], str(floor), newer, True, _moment(path, floor))


def _newer_than(path: _RowOrder, start: int, low: int, high: int, size: int) -> AuditBrowsePage:
    ceiling = min(high, _ceiling(path, start, high))
    rows = path.rows.filter(**{f"{path.position}__gt": start, f"{path.position}__lte": ceiling}).filter(path.rest)
    found = list(rows.order_by(path.position)[: size + 1])
    shown = found[:size][::-1]
    older = str(_place(path, shown[-1]) if shown else start + 1) if start >= low else ""
    lines = [line_of(row) for row in shown]
    if len(found) > size:
        return AuditBrowsePage(lines, older, str(_place(path, shown[0])))
    return AuditBrowsePage(lines, older, str(ceiling) if ceiling < high else "")


def _floor(path: _RowOrder, start: int, low: int) -> int:
    """Where the stretch ends that is looked through."""
    if not path.has_rest:
        return low
    if not path.is_scattered:
        return start - (CHAIN_WINDOW if path.chain else WINDOW)
    below = path.rows.filter(**{f"{path.position}__lt": start, f"{path.position}__gte": low})
    return _nth(below.order_by(f"-{path.position}"), path.position, low)


def _ceiling(path: _RowOrder, start: int, high: int) -> int:
    if not path.has_rest:
        return high
    if not path.is_scattered:
        return start + (CHAIN_WINDOW if path.chain else WINDOW)
    above = path.rows.filter(**{f"{path.position}__gt": start, f"{path.position}__lte": high})
    return _nth(above.order_by(path.position), path.position, high)


def _nth(rows: QuerySet[AuditRow], position: str, otherwise: int) -> int:
    found = rows.values_list(position, flat=True)[SCATTERED_WINDOW - 1 : SCATTERED_WINDOW]
    return next(iter(found), otherwise)


def _place(path: _RowOrder, row: AuditRow) -> Any:
    return getattr(row, path.position)


def _moment(path: _RowOrder, position: int) -> datetime.datetime | None:
    rows = AuditRow.objects.filter(chain=path.chain) if path.chain else AuditRow.objects.all()
    near = rows.filter(**{f"{path.position}__gte": position}).order_by(path.position)
    at = near.values_list("at", flat=True).first()
    return None if at is None else datetime.datetime.fromtimestamp(at / 1_000_000, datetime.UTC)
