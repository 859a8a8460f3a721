"""Writes an export: rows of one chain as JSON lines, with proofs that anybody can check offline (docs/audit.md).

Streamed in constant memory, one checkpoint's stretch of rows at a time.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from keycast.audit.merkle import Frontier, PartialTree
from keycast.audit.models import AuditCheckpoint, AuditRow
from keycast.audit.offline import FORMAT
from keycast.audit.positions import ends, first_since
from keycast.audit.reading import BODY, Raw
from keycast.audit.selectors import AuditFilters, microseconds
from keycast.audit.signing import trusted
from keycast.audit.statements import as_line

PAGE = 1000


@dataclass(frozen=True, slots=True)
class ExportRange:
    """The rows ``first`` to ``last`` of a chain, among which an export looks; none when ``last`` is below ``first``."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return max(0, self.last - self.first + 1)


def range_of(chain: str, filters: AuditFilters) -> ExportRange:
    """Where the rows lie that the filters' time range asks for."""
    span = ends(chain)
    first, last = span
    if filters.since:
        first = max(first, first_since(microseconds(filters.since), span, chain))
    if filters.until:
        last = min(last, first_since(microseconds(filters.until), span, chain) - 1)
    return ExportRange(first, last)


def lines(chain: str, filters: AuditFilters, within: ExportRange) -> Iterator[str]:
    """The lines of the export, each with its line break. Rows that came after ``within`` was read are not in it."""
    digest, rows = hashlib.sha256(), 0
    for line in _content(chain, filters, within):
        rows += "row" in line
        text = _as_text(line)
        digest.update(text.encode())
        yield text
    yield _as_text({"end": {"rows": rows, "sha256": digest.hexdigest()}})


def _as_text(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def _content(chain: str, filters: AuditFilters, within: ExportRange) -> Iterator[dict[str, Any]]:
    query = _narrowed(filters)
    yield _header(chain, query, within)
    position = within.first - 1
    while position < within.last:
        point = AuditCheckpoint.objects.filter(chain=chain, size__gt=position).order_by("size").first()
        end = min(point.size, within.last) if point else within.last
        yield from _checkpoint_section(chain, query, position + 1, end, point)
        position = end


def _narrowed(filters: AuditFilters) -> AuditFilters:
    """The filters without the time range, which the range of rows stands for."""
    fields = {name: getattr(filters, name) for name in AuditFilters.__dataclass_fields__}
    return AuditFilters(**{**fields, "since": None, "until": None})


def _header(chain: str, query: AuditFilters, within: ExportRange) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(query).items() if value}
    return {
        "format": FORMAT,
        "chain": chain,
        "from": within.first,
        "to": within.last,
        "complete": not query.as_query(),
        "filters": {name: value if isinstance(value, str) else list(value) for name, value in shown.items()},
        "exported_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "public_keys": [base64.b64encode(key).decode() for key in trusted()],
    }


def _checkpoint_section(
    chain: str, query: AuditFilters, first: int, last: int, point: AuditCheckpoint | None
) -> Iterator[dict[str, Any]]:
    """The rows of one checkpoint's stretch. The last row of every run without a gap carries a proof."""
    prover: _Prover | None = None
    for row, following in _pairs(_rows(chain, query, first, last)):
        line = _row_line(row)
        is_end = following is None or following[1] != row[1] + 1
        if is_end and point is not None:
            if prover is None:
                yield {"checkpoint": as_line(point.statement, bytes(point.signature))}
                prover = _Prover(point)
            line["proof"] = prover.prove(row[1])
        yield line


def _rows(chain: str, query: AuditFilters, first: int, last: int) -> Iterator[Raw]:
    matching = AuditRow.objects.filter(query.as_query(), chain=chain, sequence__lte=last).order_by("sequence")
    values = matching.values_list(*BODY, "previous_hash", "hash")
    page = list(values.filter(sequence__gte=first)[:PAGE])
    while page:
        yield from page
        page = list(values.filter(sequence__gt=page[-1][1])[:PAGE]) if len(page) == PAGE else []


def _pairs(rows: Iterator[Raw]) -> Iterator[tuple[Raw, Raw | None]]:
    """Each row with the one after it."""
    current = next(rows, None)
    while current is not None:
        following = next(rows, None)
        yield current, following
        current = following


def _row_line(row: Raw) -> dict[str, Any]:
    *body, previous, stored = row
    return {
        "row": dict(zip(BODY, body, strict=True)),
        "previous_hash": bytes(previous).hex(),
        "hash": bytes(stored).hex(),
    }


class _Prover:
    """Proofs against one checkpoint, from the hashes of its stretch alone."""

    def __init__(self, point: AuditCheckpoint) -> None:
        before = AuditCheckpoint.objects.filter(chain=point.chain, size__lt=point.size).order_by("-size").first()
        start = before.size if before else 0
        hashes = AuditRow.objects.filter(chain=point.chain, sequence__gt=start, sequence__lte=point.size)
        found = [bytes(each) for each in hashes.order_by("sequence").values_list("hash", flat=True)]
        frontier = Frontier.from_bytes(start, bytes(before.frontier)) if before else Frontier()
        self._number = point.number
        self._tree = PartialTree(frontier, found)

    def prove(self, sequence: int) -> dict[str, Any]:
        return {"checkpoint": self._number, "path": [each.hex() for each in self._tree.inclusion(sequence - 1)]}
