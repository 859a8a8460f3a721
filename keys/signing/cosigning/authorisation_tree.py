"""Many authorisations by one ECDSA signature: a Merkle tree over their digests, whose root the HSM signs.

::

    leaf = H("keycast/cosigner/authorisation/leaf/1", digest)
    node = H("keycast/cosigner/authorisation/node/1", left ‖ right)

with ``H`` the tagged hash of BIP-340: no leaf is a node, and neither is the digest of an authorisation that stands
alone. A node without a right neighbour goes up as it is. The way from a leaf to the root is a row of steps of 33 bytes:
0x00 and the right neighbour, or 0x01 and the left one. An empty way means that the signature is over the digest itself.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MAX_DEPTH: Final = 8
MAX_LEAVES: Final = 2**MAX_DEPTH
STEP_SIZE: Final = 33
_RIGHT, _LEFT = b"\x00", b"\x01"


def _tagged(tag: bytes) -> bytes:
    return sha256(tag).digest() * 2


_LEAF: Final = _tagged(b"keycast/cosigner/authorisation/leaf/1")
_NODE: Final = _tagged(b"keycast/cosigner/authorisation/node/1")


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()


def signed_digest(digest: bytes, path: bytes) -> bytes:
    """What the HSM has to have signed (32 bytes) for this digest, by its way to the root. Raises ValueError."""
    if not path:
        return digest
    if len(path) % STEP_SIZE or len(path) > MAX_DEPTH * STEP_SIZE:
        raise ValueError("not a way to the root")
    found = sha256(_LEAF + digest).digest()
    for start in range(0, len(path), STEP_SIZE):
        side, neighbour = path[start : start + 1], path[start + 1 : start + STEP_SIZE]
        if side == _RIGHT:
            found = _node(found, neighbour)
        elif side == _LEFT:
            found = _node(neighbour, found)
        else:
            raise ValueError("not a way to the root")
    return found


def tree(digests: list[bytes]) -> tuple[bytes, list[bytes]]:
    """The root over 2 to MAX_LEAVES digests, and each one's way to it."""
    if not 2 <= len(digests) <= MAX_LEAVES:
        raise ValueError("a tree has 2 to 256 leaves")
    level = [sha256(_LEAF + digest).digest() for digest in digests]
    paths, places = [bytearray() for _ in digests], list(range(len(digests)))
    while len(level) > 1:
        for path, place in zip(paths, places, strict=True):
            if (neighbour := place ^ 1) < len(level):
                path.extend((_LEFT if place & 1 else _RIGHT) + level[neighbour])
        pairs = range(0, len(level) - 1, 2)
        level = [_node(level[at], level[at + 1]) for at in pairs] + (level[-1:] if len(level) % 2 else [])
        places = [place // 2 for place in places]
    return level[0], [bytes(path) for path in paths]
