"""Secret keys that anybody can look up, so that nobody may keep one here.

``published_keys.txt`` holds, for each, the first half of SHA-256("keycast/published-key" 0x00 ‖ public key) in hex:
the keys of the test vectors of BIP-340, NIP-06, 19, 44, 49 and of this project, words hashed once, small and repeated
numbers, and the accounts that Ethereum's development tools print.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings

_LIST: Final = Path(__file__).with_name("published_keys.txt")
_DOMAIN: Final = b"keycast/published-key\x00"


def is_published(public_key: str) -> bool:
    """Whether this public key (64 hex digits) belongs to a secret key that is printed somewhere."""
    return hashlib.sha256(_DOMAIN + bytes.fromhex(public_key)).hexdigest()[:32] in _hashes()


def is_refused(public_key: str) -> bool:
    """Whether it is published and this deployment holds more than tests."""
    return not (settings.DEBUG or settings.ENVIRONMENT == "test") and is_published(public_key)


@cache
def _hashes() -> frozenset[str]:
    return frozenset(_LIST.read_text(encoding="ascii").split())
