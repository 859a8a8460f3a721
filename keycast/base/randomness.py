"""Whether bytes that should be a random key look as if somebody made them by hand."""

from __future__ import annotations

import string
from itertools import pairwise
from typing import Final

KEY_BYTES: Final = 32
FEWEST_DIFFERENT: Final = 16
"""Of 32 random bytes some 30 are different; 16 or fewer come once in 10^20 keys."""
_TEXT: Final = frozenset(string.printable.encode())


def why_not_random(key: bytes) -> str | None:
    """Say what is wrong with a key of 32 bytes (``has hardly any different bytes``), or None. Never repeats any of it.

    A look, no proof: what passes may still have been made by hand. What is refused here comes from a random source less
    often than once in 10^12 keys.
    """
    if len(key) != KEY_BYTES:
        return f"is not {KEY_BYTES} bytes in base64"
    if len(set(key)) <= FEWEST_DIFFERENT:
        return "has hardly any different bytes"
    if set(key) <= _TEXT:
        return "is text, not random bytes"
    steps = [(after - before) % 256 for before, after in pairwise(key)]
    if max(map(steps.count, set(steps))) > len(steps) // 2:
        return "counts up or down"
    return None
