"""Strict JSON, cheaply: what msgspec lets pass although two readers may see two different messages.

msgspec refuses NaN, a BOM, lone surrogates, trailing bytes, wrong types and deep nesting, but takes the last of
duplicate keys (I-JSON, RFC 7493, 2.3 forbids them) and does not look into members that it skips.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


class RedactedStruct(msgspec.Struct, frozen=True, gc=False):
    """A struct whose ``repr`` tells none of its members, because a person's words or a secret may be among them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # or rich would list the members all the same
        return []


class _DuplicateKey(ValueError):
    pass


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _DuplicateKey


def _refuse_constant(_: str) -> None:
    raise ValueError("not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_duplicates(pairs)
    return dict(pairs)


decode_strictly: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse_constant).decode
"""Any JSON text without duplicate keys, NaN or infinities. Raises ValueError or RecursionError."""


def is_unambiguous(raw: bytes, decoded: msgspec.Struct) -> bool:
    """Whether ``raw``, which decoded to ``decoded``, holds no duplicate key and only valid UTF-8.

    The fast proof: msgspec writes every value in its shortest JSON form, and a duplicate or unknown member adds
    bytes. So when ``raw`` is as short as ``decoded`` written again, it has nothing to spare for one. Only text with
    spaces, needless escapes or unknown members pays for a second, slower parse that looks at every key.
    """
    if len(raw) == len(_encode(decoded)):
        return True
    try:
        decode_strictly(raw.decode())
    except (ValueError, RecursionError):
        return False
    return True
