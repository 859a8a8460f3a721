"""What people and apps type beside secrets: names and reasons, in one printable line."""

from __future__ import annotations

import unicodedata
from typing import Final

_SPACES: Final = frozenset("\t\n\v\f\r\x85")


def one_line(text: str, limit: int) -> str:
    """``text`` without control, format (bidi), surrogate or unassigned characters, cut at ``limit`` characters.

    Whatever separates words or lines becomes one space; none is left at either end. Not more than four times
    ``limit`` characters are looked at.
    """
    kept = "".join(map(_printable, text[: 4 * limit]))
    return " ".join(kept.split())[:limit].rstrip()


def _printable(char: str) -> str:
    if char in _SPACES:
        return " "
    kind = unicodedata.category(char)[0]
    return " " if kind == "Z" else "" if kind == "C" else char
