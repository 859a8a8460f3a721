"""One line of an import file: who it is for, what the key is called, and the secret itself."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import msgspec

from keys.errors import InvalidLine

MAX_LINE: Final = 16 * 1024
_FIELDS: Final = ("email", "name", "secret", "password")


class ImportLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{"email": ..., "name": ..., "secret": ..., "password": ...}``; the password only for an ncryptsec."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    password: str | None = None

    def __repr__(self) -> str:
        return "<ImportLine>"

    def __rich_repr__(self) -> Any:
        yield "ImportLine"


_decode: Final = msgspec.json.Decoder(ImportLine).decode


def parse_line(raw: bytes) -> ImportLine:
    """Strictly one JSON object with the fields above, each once. Raises InvalidLine, which repeats nothing of it."""
    if len(raw) > MAX_LINE:
        raise InvalidLine("The line is too long.")
    try:
        line = _decode(raw)
    except (ValueError, RecursionError):
        raise InvalidLine(f"Not a JSON object with {', '.join(_FIELDS[:3])} (and password) as text.") from None
    if _repeats_a_key(raw):
        raise InvalidLine("A field is given twice.")
    return line


def _repeats_a_key(raw: bytes) -> bool:
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) < len(pairs)

    json.loads(raw, object_pairs_hook=look)
    return repeated
