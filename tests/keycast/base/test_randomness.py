"""Keys that were made by hand are told from random ones."""

from __future__ import annotations

import hashlib
import os

import pytest

from keycast.base.randomness import why_not_random


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        b"\xff" * 32,
        b"\x01\x02" * 16,
        os.urandom(8) * 4,
        os.urandom(16) * 2,
        bytes(range(32)),
        bytes(range(255, 223, -1)),
        bytes(range(0, 160, 5)),
        b"0123456789abcdef0123456789abcdef",
        b"correct horse battery staple 123",
        b"",
        os.urandom(31),
        os.urandom(33),
    ],
)
def test_what_is_made_by_hand_is_refused(key: bytes) -> None:
    said = why_not_random(key)
    assert said
    assert not key or key.hex() not in said


def test_what_is_random_passes() -> None:
    assert [why_not_random(hashlib.sha256(bytes([number])).digest()) for number in range(256)] == [None] * 256
    assert {why_not_random(os.urandom(32)) for _ in range(10_000)} == {None}
