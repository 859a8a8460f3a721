"""Opening a person's ncryptsec apart from the server: in a child with a memory limit, so often an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from threading import BoundedSemaphore
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip49
from keycast.nostr.nip49_child import OPENED, REFUSED
from keys.errors import TooManyEncryptedKeys

HOUR: Final = 3600
WAIT_SECONDS: Final = 20.0
CHILD_SECONDS: Final = 60.0
SPARE: Final = 64 * 1024 * 1024
"""Bytes that a child may take besides scrypt's."""
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from keycast.nostr import nip49_child; nip49_child.main()"
)
_one_at_a_time: Final = BoundedSemaphore()


def memory_for(log_n: int) -> int:
    """Bytes that a child may take: scrypt's 2^log_n KiB (NIP-49: r = 8), and some to spare."""
    return (1024 << log_n) + SPARE


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
    if said[:1] == OPENED and len(said) == 33:
        return SecretBytes.adopt_bytes(said[1:])
    # A child that was ended for what it took has said nothing.
    raise nip49.Nip49Error(said[1:].decode() if said[:1] == REFUSED else "too-costly")


def _ask(line: bytes) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-P", "-c", _PROGRAM, str(settings.PACKAGE_DIR.parent)],
            input=line,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return b""
    return done.stdout if done.returncode == 0 else b""
