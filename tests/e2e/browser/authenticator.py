"""An authenticator app for tests: no code twice, because the server takes each only once, and no code too old."""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from base64 import b32decode
from typing import Final

STEP: Final = 30
NEARLY_OVER: Final = 20
"""Seconds into a step after which the code of the step before may be too old when it arrives."""
_used: Final[set[tuple[str, int]]] = set()


def code_at(secret: str, step: int) -> str:
    """RFC 6238, SHA-1, 30 seconds, six digits."""
    key = b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
    number = struct.unpack(">I", mac[mac[-1] & 15 :][:4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def unused_code(secret: str) -> str:
    """A code that the server takes now (it allows one step to either side) and that no test has typed before."""
    while True:
        step, into = divmod(int(time.time()), STEP)
        usable = [step, step + 1, *([step - 1] if into < NEARLY_OVER else [])]
        for each in usable:
            if (secret, each) not in _used:
                _used.add((secret, each))
                return code_at(secret, each)
        time.sleep(0.5)
