"""Secret fields of a form, taken out of its body before anything makes text of them: text cannot be overwritten.

A body is what browsers send for a form without files (``application/x-www-form-urlencoded``, WHATWG URL, section 5.1).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from keycast.crypto.secret import SecretBytes

SCOPE_KEY: Final = "keycast.secret_fields"
"""Where an ASGI scope has the fields that were taken out, by name."""
_AMPERSAND, _EQUALS, _PERCENT, _PLUS, _SPACE = b"&=%+ "


def take(body: bytearray, names: Collection[str]) -> dict[str, SecretBytes]:
    """The values of these fields, percent-decoded; the caller wipes them. Of one sent twice it is the last.

    In ``body`` each character of such a value becomes an asterisk, so that a form still sees whether it was filled in,
    and how long it is; one of nothing but spaces becomes as many ``+``.
    """
    wanted, found, start = {name.encode(): name for name in names}, dict[str, SecretBytes](), 0
    while start < len(body):
        end = body.find(_AMPERSAND, start)
        end = len(body) if end < 0 else end
        middle = body.find(_EQUALS, start, end)
        if middle >= 0 and (name := wanted.get(bytes(body[start:middle]) if middle - start < 64 else b"")):
            with memoryview(body) as whole, whole[middle + 1 : end] as value:
                if name in found:
                    found[name].wipe()
                found[name] = _decoded(value)
                _cover(value)
        start = end + 1
    return found


def _cover(value: memoryview) -> None:
    is_blank = all(byte in (_PLUS, _SPACE) for byte in value)
    value[:] = (b"+" if is_blank else b"*") * len(value)


def _decoded(value: memoryview) -> SecretBytes:
    """``value`` without its encoding, in a buffer that never moves; what is no escape stays as it is."""
    output, position, at = bytearray(len(value)), 0, 0
    while at < len(value):
        byte = value[at]
        if byte == _PERCENT and at + 2 < len(value) and (pair := _byte_of(value[at + 1], value[at + 2])) is not None:
            byte, at = pair, at + 2
        elif byte == _PLUS:
            byte = _SPACE
        output[position] = byte
        position, at = position + 1, at + 1
    with memoryview(output) as view:
        made = SecretBytes(view[:position])
        view[:] = bytes(len(view))
    return made


def _byte_of(high: int, low: int) -> int | None:
    first, second = DIGITS.get(high), DIGITS.get(low)
    return None if first is None or second is None else first << 4 | second


DIGITS: Final = {ord(digit): int(digit, 16) for digit in "0123456789abcdefABCDEF"}
"""The value of each hexadecimal digit, by its ASCII code."""
