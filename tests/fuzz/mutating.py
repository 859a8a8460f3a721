"""Inputs made of inputs: bits, bytes, pieces of others, and words that parsers know. Deterministic by its seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

LARGEST = 8_192
WORDS = (
    b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1", b"1e309", b"NaN",
    b"9" * 30, b"0", b"\x00", b"\xff", b"\xed\xa0\x80", b"%00", b"%zz", b"&", b"=", b"?", b"#", b"@", b"//", b"[::1]",
    b"sign_event", b"24133", b"22242", b"#p", b"since", b"A" * 64, b"\n", b"1" * 60, b"\x80\x04\x95",
)  # fmt: skip


def mutated(draw: random.Random, pool: Sequence[bytes]) -> bytes:
    """One of ``pool``, changed in one to eight places; at most LARGEST bytes."""
    data = bytearray(draw.choice(pool))
    for _ in range(1 << draw.randrange(4)):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(7):
            case 0:
                data[at:at] = draw.choice(WORDS)
            case 1 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 2 if at < len(data):
                data[at] = draw.randrange(256)
            case 3:
                del data[at : at + draw.randrange(1, 17)]
            case 4:
                data[at:at] = data[at : at + draw.randrange(1, 33)]
            case 5:
                other = draw.choice(pool)
                start = draw.randrange(len(other) + 1)
                data[at : at + 8] = other[start : start + draw.randrange(1, 65)]
            case _:
                word = draw.choice(WORDS)
                data[at : at + len(word)] = word
    return bytes(data[:LARGEST])
