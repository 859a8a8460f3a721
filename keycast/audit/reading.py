"""Rows in the order of their chain, a page at a time: no long transaction, no server-side cursor, constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from keycast.audit.models import AuditRow

BODY: Final = (
    *("chain", "sequence", "at", "tag", "outcome", "actor_type", "actor_id", "actor_label"),
    *("key_id", "connection_id", "request_id", "data"),
)
"""The columns that are hashed, in their order (keycast.audit.chain)."""

PAGE: Final = 2000
Raw = tuple[Any, ...]
"""The columns of BODY, the hash before and the hash."""


def rows_between(chain: str, first: int, last: int, page: int = PAGE) -> Iterator[Raw]:
    """The rows ``first`` to ``last`` that are there."""
    rows = AuditRow.objects.filter(chain=chain, sequence__lte=last).order_by("sequence")
    values = rows.values_list(*BODY, "previous_hash", "hash")
    found = list(values.filter(sequence__gte=first)[:page])
    while found:
        yield from found
        found = list(values.filter(sequence__gt=found[-1][1])[:page])


def page_after(chain: str, sequence: int | None, size: int) -> list[Raw]:
    """The next ``size`` rows behind ``sequence``; None stands before everything."""
    rows = AuditRow.objects.filter(chain=chain).order_by("sequence")
    if sequence is not None:
        rows = rows.filter(sequence__gt=sequence)
    return list(rows.values_list(*BODY, "previous_hash", "hash")[:size])
