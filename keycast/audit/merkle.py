"""Merkle trees over the rows of a chain, exactly as RFC 6962, section 2.1 has them. No Django, no I/O.

The leaf at index ``i`` is the 32-byte hash of the chain's row ``i + 1``::

    leaf = SHA-256( 0x00 ‖ row hash )        node = SHA-256( 0x01 ‖ left ‖ right )

A tree of ``n`` leaves is split at the largest power of two smaller than ``n``. Whoever knows its *peaks*, the roots of
the perfect subtrees that make it up (largest first, one for each bit of ``n``), can go on without the rows before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

SIZE: Final = 32
EMPTY: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

_sha256 = hashlib.sha256


def leaf_hash(row_hash: bytes) -> bytes:
    """The hash of a leaf: of a row's 32-byte hash."""
    return _sha256(b"\x00" + row_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: its size and its peaks. Adding a leaf costs two hashes on average."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != SIZE for peak in peaks):
            raise ValueError("a tree has one peak of 32 bytes for each bit of its size")
        self.size = size
        self.peaks = list(peaks)

    @classmethod
    def from_bytes(cls, size: int, packed: bytes) -> Frontier:
        """From the peaks one after the other, as ``packed`` gives them. Raises ValueError."""
        return cls(size, unpack(packed))

    @property
    def packed(self) -> bytes:
        return b"".join(self.peaks)

    def add(self, row_hash: bytes) -> None:
        """Append the leaf of a row."""
        node, size = leaf_hash(row_hash), self.size
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root."""
        return fold(self.peaks)

    def copy(self) -> Frontier:
        return Frontier(self.size, self.peaks)


def unpack(packed: bytes) -> list[bytes]:
    """Hashes that stand one after the other. Raises ValueError."""
    if len(packed) % SIZE:
        raise ValueError("not a row of 32-byte hashes")
    return [packed[start : start + SIZE] for start in range(0, len(packed), SIZE)]


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root above peaks, largest first."""
    if not peaks:
        return EMPTY
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


class PartialTree:
    """A tree of which the last leaves are known, and only the peaks of what lies before: enough to prove those leaves.

    ``before``: the tree before them. ``row_hashes``: the hashes of the rows that follow.
    """

    def __init__(self, before: Frontier, row_hashes: Iterable[bytes]) -> None:
        self._first = before.size
        self._leaves = [leaf_hash(each) for each in row_hashes]
        self.size = before.size + len(self._leaves)
        self._known: dict[tuple[int, int], bytes] = {}
        start = 0
        for peak, bit in zip(before.peaks, _bits(before.size), strict=True):
            self._known[start, start + bit] = peak
            start += bit

    def root(self) -> bytes:
        return self._hash(0, self.size) if self.size else EMPTY

    def inclusion(self, index: int) -> list[bytes]:
        """The audit path of the leaf at ``index`` (from 0), RFC 6962, 2.1.1. Raises ValueError if it is not here."""
        if not self._first <= index < self.size:
            raise ValueError("this leaf is not among the known ones")
        path = []
        low, high = 0, self.size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return path[::-1]

    def consistency(self) -> list[bytes]:
        """That the tree before is a beginning of this one, RFC 6962, 2.1.2; nothing where either is the other."""
        path, low, high, first, is_old_root = [], 0, self.size, self._first, True
        if first in {0, self.size}:
            return []
        while first != high:
            middle = low + _split(high - low)
            if first <= middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low, is_old_root = middle, False
        return ([] if is_old_root else [self._hash(low, high)]) + path[::-1]

    def _hash(self, low: int, high: int) -> bytes:
        known = self._known.get((low, high))
        if known is not None:
            return known
        if high - low == 1:
            return self._leaves[low - self._first]
        middle = low + _split(high - low)
        found = self._known[low, high] = node_hash(self._hash(low, middle), self._hash(middle, high))
        return found


def is_included(row_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that the row is leaf ``index`` of the tree of ``size`` leaves (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, hash_ = index, size - 1, leaf_hash(row_hash)
    for step in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            hash_ = node_hash(step, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, step)
        node, last = node >> 1, last >> 1
    return last == 0 and hash_ == root


def is_consistent(old: tuple[int, bytes], new: tuple[int, bytes], path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the tree ``old`` (size, root) is a beginning of ``new`` (RFC 9162, 2.1.4.2)."""
    (old_size, old_root), (new_size, new_root) = old, new
    if old_size == new_size:
        return old_root == new_root and not path
    if old_size == 0:
        return not path and old_root == EMPTY
    if not 0 < old_size < new_size:
        return False
    steps = [old_root, *path] if old_size.bit_count() == 1 else list(path)
    if not steps:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    from_old = from_new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            from_old, from_new = node_hash(step, from_old), node_hash(step, from_new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            from_new = node_hash(from_new, step)
        node, last = node >> 1, last >> 1
    return last == 0 and from_old == old_root and from_new == new_root


def _bits(size: int) -> list[int]:
    """The powers of two that make up ``size``, largest first."""
    return [1 << place for place in range(size.bit_length() - 1, -1, -1) if size >> place & 1]


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1
