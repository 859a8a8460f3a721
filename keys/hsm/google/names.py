"""Resource names of Cloud KMS, taken apart strictly."""

from __future__ import annotations

import re
from typing import Final

_RING: Final = r"projects/[^/]+/locations/[^/]+/keyRings/[a-zA-Z0-9_-]{1,63}"
_RING_PATTERN: Final = re.compile(_RING)
_KEY_PATTERN: Final = re.compile(rf"({_RING})/cryptoKeys/([a-zA-Z0-9_-]{{1,63}})")
_VERSION_PATTERN: Final = re.compile(rf"({_RING}/cryptoKeys/[a-zA-Z0-9_-]{{1,63}})/cryptoKeyVersions/(\d{{1,9}})")


def is_ring(name: str) -> bool:
    return bool(_RING_PATTERN.fullmatch(name))


def is_key(name: str) -> bool:
    return bool(_KEY_PATTERN.fullmatch(name))


def key_of(version: str) -> str:
    """The key that a version belongs to; empty when ``version`` names none."""
    found = _VERSION_PATTERN.fullmatch(version)
    return found[1] if found else ""


def split(key: str) -> tuple[str, str]:
    """Key ring and key id. Raises ValueError."""
    found = _KEY_PATTERN.fullmatch(key)
    if not found:
        raise ValueError("not the name of a key")
    return found[1], found[2]
