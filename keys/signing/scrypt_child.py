"""NIP-49's scrypt in a child process with a memory limit (keycast.nostr.nip49_child), which ends after one password."""

from __future__ import annotations

import json
import subprocess
import sys
from threading import BoundedSemaphore
from typing import Final

from django.conf import settings

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip49
from keycast.nostr.nip49_child import OPENED, REFUSED

CHILD_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 5.0
SPARE: Final = 64 * 1024 * 1024
"""Bytes that a child may take besides scrypt's."""
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from keycast.nostr import nip49_child as c; c.{}()"
_one_at_a_time: Final = BoundedSemaphore()


def memory_for(log_n: int) -> int:
    """Bytes that a child may take: scrypt's 2^log_n KiB (NIP-49: r = 8), and some to spare."""
    return (1024 << log_n) + SPARE


def derive_apart(password: str, salt: bytes, log_n: int) -> SecretBytes:
    """What nip49.derive gives, from a child that gets the password and nothing to seal. Raises Nip49Error."""
    line = json.dumps([password, salt.hex(), log_n, memory_for(log_n)]).encode() + b"\n"
    if not _one_at_a_time.acquire(timeout=WAIT_SECONDS):
        raise nip49.Nip49Error("busy")
    try:
        return secret_of(run("derive_main", line))
    finally:
        _one_at_a_time.release()


def secret_of(said: bytes) -> SecretBytes:
    """The 32 bytes that a child wrote. Raises Nip49Error."""
    if said[:1] == OPENED and len(said) == 33:
        return SecretBytes.adopt_bytes(said[1:])
    # A child that was ended for what it took has said nothing.
    raise nip49.Nip49Error(said[1:].decode() if said[:1] == REFUSED else "too-costly")


def run(main: str, line: bytes) -> bytes:
    """What a child wrote that runs this function of nip49_child and reads ``line``; nothing if it was ended.

    Passwords go through its standard input alone: neither its arguments nor its environment have any.
    """
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-P", "-c", _PROGRAM.format(main), str(settings.PACKAGE_DIR.parent)],
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
