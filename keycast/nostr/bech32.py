"""Bech32 (BIP-173, not the bech32m of BIP-350), without BIP-173's length limit, as NIP-19 and NIP-49 use it."""

from __future__ import annotations

from typing import Final

from keycast.nostr.errors import NostrError

CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {character: value for value, character in enumerate(CHARSET)}
_BYTE_VALUES: Final = {ord(character): value for character, value in _VALUES.items()}
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM: Final = 6
MAX_LENGTH: Final = 5000
"""Longest text that is looked at (the recommendation of NIP-19)."""


class Bech32Error(NostrError):
    """A text that is not bech32, or has another prefix; never repeats the text, which may be a secret."""

    def __init__(self) -> None:
        super().__init__("invalid bech32 text")


def encode(prefix: str, data: bytes | bytearray | memoryview) -> str:
    """The bech32 text of ``data`` under the human-readable ``prefix``, in lower case."""
    values = _regroup(data, 8, 5, pad=True)
    check = _polymod(_expanded(prefix) + values + bytes(_CHECKSUM)) ^ 1
    checksum = bytes(check >> 5 * (5 - i) & 31 for i in range(_CHECKSUM))
    text = prefix + "1" + "".join(CHARSET[value] for part in (values, checksum) for value in part)
    _wipe(values)
    return text


def decode(prefix: str, text: str) -> bytearray:
    """The bytes of ``text``, which must have this ``prefix``; the caller wipes them when they are a secret.

    Raises Bech32Error: wrong prefix, mixed case, a wrong checksum, a foreign character, stray bits at the end.
    """
    if len(text) > MAX_LENGTH or not text.isascii() or (text.lower() != text and text.upper() != text):
        raise Bech32Error
    found, separator, body = text.lower().rpartition("1")
    if not separator or found != prefix or len(body) < _CHECKSUM:
        raise Bech32Error
    try:
        values = bytearray(_VALUES[character] for character in body)
    except KeyError:
        raise Bech32Error from None
    try:
        if _polymod(_expanded(prefix) + values) != 1:
            raise Bech32Error
        return _regroup(memoryview(values)[:-_CHECKSUM], 5, 8, pad=False)
    finally:
        _wipe(values)


def decode_buffer(prefix: str, text: memoryview) -> bytearray:
    """Like ``decode``, of a text in a buffer: for secrets, of which no ``str`` is to be made. Raises Bech32Error."""
    start = len(prefix) + 1
    if not start + _CHECKSUM <= len(text) <= MAX_LENGTH:
        raise Bech32Error
    values, cases = bytearray(len(text) - start), set()
    try:
        for position, byte in enumerate(text):
            if ord("A") <= byte <= ord("Z"):
                cases.add("upper")
                byte += 32  # noqa: PLW2901 -- the same letter in lower case
            elif ord("a") <= byte <= ord("z"):
                cases.add("lower")
            if position < start:
                if byte != ord((prefix + "1")[position]):
                    raise Bech32Error
            elif (value := _BYTE_VALUES.get(byte)) is None:
                raise Bech32Error
            else:
                values[position - start] = value
        if len(cases) > 1 or _polymod(_expanded(prefix) + values) != 1:
            raise Bech32Error
        return _regroup(memoryview(values)[:-_CHECKSUM], 5, 8, pad=False)
    finally:
        _wipe(values)


def _expanded(prefix: str) -> bytearray:
    return bytearray([ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix])


def _polymod(values: bytearray) -> int:
    """The BCH checksum of BIP-173; wipes its input, which is always a copy of the caller's."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATOR):
            check ^= generator if top >> i & 1 else 0
    _wipe(values)
    return check


def _regroup(data: bytes | bytearray | memoryview, from_bits: int, to_bits: int, *, pad: bool) -> bytearray:
    """Regroup bits, in a buffer that never moves, so that no copy of a secret is left behind."""
    bits = len(data) * from_bits
    output = bytearray(-(-bits // to_bits) if pad else bits // to_bits)
    accumulator = have = position = 0
    for value in data:
        accumulator = (accumulator << from_bits | value) & 0xFFF
        have += from_bits
        while have >= to_bits:
            have -= to_bits
            output[position] = accumulator >> have & (1 << to_bits) - 1
            position += 1
    rest = accumulator & (1 << have) - 1
    if pad and have:
        output[position] = rest << to_bits - have
    elif not pad and (have >= from_bits or rest):
        _wipe(output)
        raise Bech32Error
    return output


def _wipe(buffer: bytearray) -> None:
    buffer[:] = bytes(len(buffer))
