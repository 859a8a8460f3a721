"""What people type beside secrets: names and reasons, one line, printable."""

from __future__ import annotations

from typing import Final

from keycast.base.text import one_line
from keys.errors import InvalidText

MAX_NAME: Final = 100
MAX_REASON: Final = 200


def clean_name(name: str) -> str:
    """A key's name: one line of 1 to 100 printable characters. Raises InvalidText."""
    cleaned = one_line(name, 4 * MAX_NAME)
    if not 1 <= len(cleaned) <= MAX_NAME:
        raise InvalidText(f"A key's name has 1 to {MAX_NAME} characters.")
    return cleaned


def clean_reason(reason: str) -> str:
    """A reason as it is shown: one line, cut at 200 characters."""
    return one_line(reason, MAX_REASON)
