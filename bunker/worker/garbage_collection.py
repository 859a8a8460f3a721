"""The garbage collector, told what a worker is: much that lives long, and requests that leave no cycles behind."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 50, 100)
"""Objects more than before a collection of the young, and how many of those before one of the older. With Python's own
(700, 10, 10) each collection walks over what never goes away, hundreds of times a second (docs/performance.md)."""


def relax() -> None:
    """Collect seldom. Holds for the whole process; safe to repeat."""
    gc.set_threshold(*THRESHOLDS)
