"""What is counted, and the fixed buckets of latency from which any percentile of any span can be estimated. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

EVERYONE: Final = UUID(int=0)
"""Stands for the whole deployment where a tenant's id would stand: its sums are kept, not computed for each look."""

OUTCOMES: Final = ("signed", "used", "other", "refused", "failed")
"""Events signed, texts encrypted or decrypted, other requests answered, requests refused, requests that failed."""
SIGNED, USED, OTHER, REFUSED, FAILED = range(len(OUTCOMES))

BOUNDS_MS: Final = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 1000, 2000, 5000)
"""Upper ends of the buckets; one more is for whatever took longer. They never change: old rows are read by them."""
BUCKETS: Final = (*(f"ms_{bound}" for bound in BOUNDS_MS), "ms_more")

COLUMNS: Final = (*OUTCOMES, *BUCKETS)
"""Names of the numbers of one row, in the order in which they are counted."""
FIRST_BUCKET: Final = len(OUTCOMES)


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """Milliseconds within which ``share`` (0 to 1) of all uses were answered; None when there were none.

    Within a bucket uses are taken to be spread evenly. Beyond the last bound nothing is known: that bound is returned.
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, seen, low = share * total, 0, 0
    for count, high in zip(buckets, BOUNDS_MS, strict=False):
        if count and seen + count >= wanted:
            return low + (high - low) * max(wanted - seen, 0) / count
        seen, low = seen + count, high
    return float(BOUNDS_MS[-1])


def added(rows: Iterable[Sequence[int]]) -> list[int]:
    """The sum of rows of numbers, column by column; zeros when there are none."""
    total = [0] * len(COLUMNS)
    for row in rows:
        for place, number in enumerate(row):
            total[place] += number
    return total
