"""Merkle trees as RFC 6962 has them, against its own recursive definition."""

from __future__ import annotations

import hashlib

import pytest

from keycast.audit.merkle import EMPTY, Frontier, PartialTree, is_consistent, is_included

ROWS = [hashlib.sha256(bytes([number])).digest() for number in range(40)]


def defined(rows: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if len(rows) <= 1:
        return hashlib.sha256(b"\x00" + rows[0]).digest() if rows else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(rows):
        split *= 2
    return hashlib.sha256(b"\x01" + defined(rows[:split]) + defined(rows[split:])).digest()


def frontier(size: int) -> Frontier:
    found = Frontier()
    for row in ROWS[:size]:
        found.add(row)
    return found


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("peaks", [[], [b"x" * 31], [b"x" * 32] * 2])
def test_peaks_that_do_not_fit_the_size_are_refused(peaks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="peak"):
        Frontier(4, peaks)


@pytest.mark.parametrize("size", range(1, 40))
def test_every_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    assert frontier(size).root() == defined(ROWS[:size])
    assert Frontier.from_bytes(size, frontier(size).packed).root() == defined(ROWS[:size])


@pytest.mark.parametrize("size", range(1, 40))
def test_a_proof_of_inclusion_holds_for_its_leaf_tree_and_place_alone(size: int) -> None:
    root = defined(ROWS[:size])
    for before in {0, size // 3, size // 2, size - 1}:
        stretch = PartialTree(frontier(before), ROWS[before:size])
        for index in range(before, size):
            path = stretch.inclusion(index)
            assert is_included(ROWS[index], index, size, path, root)
            assert not is_included(ROWS[index - 1], index, size, path, root) or size == 1
            assert not is_included(ROWS[index], index + 1, size, path, root)
            assert not is_included(ROWS[index], index, size, [*path, root], root)
            assert not (path and is_included(ROWS[index], index, size, path[:-1], root))


def test_what_lies_before_a_stretch_cannot_be_proven_from_it() -> None:
    stretch = PartialTree(frontier(5), ROWS[5:9])
    for index in (4, 9, -1):
        with pytest.raises(ValueError, match="leaf"):
            stretch.inclusion(index)


@pytest.mark.parametrize("size", range(1, 40))
def test_a_proof_of_consistency_holds_for_beginnings_alone(size: int) -> None:
    new = (size, defined(ROWS[:size]))
    for before in range(size + 1):
        path = PartialTree(frontier(before), ROWS[before:size]).consistency()
        assert is_consistent((before, defined(ROWS[:before])), new, path)
        if 0 < before < size:
            assert not is_consistent((before, defined(ROWS[1 : before + 1])), new, path)
            assert not is_consistent((before, defined(ROWS[:before])), (size, defined(ROWS[::-1][:size])), path)
            assert not is_consistent((before, defined(ROWS[:before])), new, path[:-1])
            assert not is_consistent((before, defined(ROWS[:before])), new, [*path, EMPTY])
