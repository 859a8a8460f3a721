"""Opening a person's ncryptsec apart from the server: in a child with a memory limit, so often an hour."""

from __future__ import annotations

import json
from threading import BoundedSemaphore
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip49
from keys.errors import TooManyEncryptedKeys
from keys.signing import scrypt_child
from keys.signing.scrypt_child import memory_for

HOUR: Final = 3600
WAIT_SECONDS: Final = 20.0
_one_at_a_time: Final = BoundedSemaphore()


def take_turn(person: UUID) -> None:
    """Count one encrypted key of this person. Raises TooManyEncryptedKeys after so many in any hour.

    A place for each of them, taken by an atomic ``add`` and free again an hour later.
    """
    for place in range(settings.NIP49_IMPORTS_PER_HOUR):
        if cache.add(f"nip49:{person.hex}:{place}", 1, HOUR):
            return
    raise TooManyEncryptedKeys


def decrypt_apart(ncryptsec: str, password: str, max_log_n: int, memory: int | None = None) -> SecretBytes:
    """What nip49.decrypt gives, from a child process; blocks for seconds. Raises Nip49Error."""
    asked = json.dumps([ncryptsec, password, max_log_n, memory_for(max_log_n) if memory is None else memory])
    if not _one_at_a_time.acquire(timeout=WAIT_SECONDS):
        raise nip49.Nip49Error("busy")
    try:
        said = _ask(asked.encode() + b"\n")
    finally:
        _one_at_a_time.release()
    return scrypt_child.secret_of(said)


def _ask(line: bytes) -> bytes:
    return scrypt_child.run("main", line)
