"""One signature over many digests: every leaf reaches the root, and nothing else does."""

from __future__ import annotations

import os

import pytest

from keys.signing.cosigning.authorisation_tree import MAX_DEPTH, MAX_LEAVES, STEP_SIZE, signed_digest, tree


@pytest.mark.parametrize(
    "wrong", [b"\x00", bytes(STEP_SIZE - 1), b"\x02" + bytes(32), bytes((MAX_DEPTH + 1) * STEP_SIZE)]
)
def test_what_is_no_way_to_a_root_is_refused(wrong):
    with pytest.raises(ValueError, match="not a way"):
        signed_digest(bytes(32), wrong)


@pytest.mark.parametrize("count", [0, 1, MAX_LEAVES + 1])
def test_a_tree_of_too_few_or_too_many_is_refused(count):
    with pytest.raises(ValueError, match="leaves"):
        tree([bytes(32)] * count)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 9, 31, 100, MAX_LEAVES])
def test_every_leaf_reaches_the_root_by_its_own_way_alone(count):
    digests = [os.urandom(32) for _ in range(count)]
    root, paths = tree(digests)
    assert {signed_digest(digest, path) for digest, path in zip(digests, paths, strict=True)} == {root}
    assert all(0 < len(path) <= MAX_DEPTH * STEP_SIZE for path in paths)
    assert signed_digest(digests[0], paths[1]) != root
    assert signed_digest(os.urandom(32), paths[0]) != root


def test_neither_a_node_nor_a_leaf_nor_the_root_passes_for_a_digest():
    """Else an authorisation could be made up from the ways of others."""
    digests = [os.urandom(32) for _ in range(4)]
    root, paths = tree(digests)
    node = signed_digest(digests[0], paths[0][:STEP_SIZE])
    assert signed_digest(node, paths[0][STEP_SIZE:]) != root
    leaf_of_second = paths[0][1:STEP_SIZE]
    assert signed_digest(leaf_of_second, paths[1]) != root
    assert signed_digest(root, paths[0][:STEP_SIZE]) != root


def test_a_digest_without_a_way_stands_for_itself():
    assert signed_digest(b"\x07" * 32, b"") == b"\x07" * 32
