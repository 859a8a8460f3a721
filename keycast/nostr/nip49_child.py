"""NIP-49 in a process of its own: scrypt's memory is taken there, within a limit, and given back when it ends.

``python -c`` with this module's ``main`` or ``derive_main``; no environment and no settings are needed. Read from
standard input: a line of JSON, ``[ncryptsec, password, max_log_n, memory]`` to open a key, ``[password, salt, log_n,
memory]`` (salt in hex) to derive the key of a password, and no more; memory in bytes beyond what Python itself takes.
Written to standard output: ``+`` and 32 bytes, or ``-`` and the code of a Nip49Error.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from keycast.base.hardening import harden
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip49 import Nip49Error, decrypt, derive

OPENED: Final = b"+"
REFUSED: Final = b"-"
CPU_SECONDS: Final = 60


def limit_memory(beyond: int) -> None:
    """Let this process take ``beyond`` bytes of address space more than it has."""
    if not sys.platform.startswith("linux"):
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + beyond
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    """Open one key, and end."""
    ncryptsec, password, max_log_n, memory = _asked()
    _answer(memory, lambda: decrypt(ncryptsec, password, max_log_n))


def derive_main() -> None:
    """Derive the key of one password, and end: what is sealed under it never comes here."""
    password, salt, log_n, memory = _asked()
    _answer(memory, lambda: derive(password, bytes.fromhex(salt), log_n))


def _asked() -> list[Any]:
    harden(locks_memory=False)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    asked: list[Any] = json.loads(sys.stdin.buffer.readline())
    return asked


def _answer(memory: int, work: Callable[[], SecretBytes]) -> None:
    limit_memory(memory)
    try:
        with work() as secret:
            sys.stdout.buffer.write(OPENED + bytes(secret.view()))
    except Nip49Error as error:
        sys.stdout.buffer.write(REFUSED + error.code.encode())
    sys.stdout.buffer.flush()
