"""What people type beside secrets: names and reasons, one line, printable."""

from __future__ import annotations

import unicodedata
from typing import Final

from keys.errors import InvalidText

MAX_NAME: Final = 100
MAX_REASON: Final = 200


def clean_name(name: str) -> str:
    """A key's name: one line of 1 to 100 printable characters. Raises InvalidText."""
    cleaned = _one_line(name)
    if not 1 <= len(cleaned) <= MAX_NAME:
        raise InvalidText(f"A key's name has 1 to {MAX_NAME} characters.")
    return cleaned


def clean_reason(reason: str) -> str:
    """A reason as it is shown: one line, cut at 200 characters."""
    return _one_line(reason[: 4 * MAX_REASON])[:MAX_REASON]


def _one_line(text: str) -> str:
    """Without control, format (bidi), surrogate or line characters, and with single spaces."""
    printable = ("" if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char for char in _spaced(text))
    return " ".join("".join(printable).split())


def _spaced(text: str) -> str:
    return "".join(" " if char in "\t\r\n" else char for char in text)
