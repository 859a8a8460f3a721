"""What a process that holds keys, or serves others, does to itself before it reads any secret (Linux).

No core dumps, no reading of its memory by others of the same user, no new privileges, files for its owner alone, its
memory kept out of swap where the machine allows that; and secrets from the environment do not stay in it. Root, and
who can become root, reads it all the same.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK: Final = 14


def harden(*, locks_memory: bool = True) -> bool:
    """Do all that; whether memory is kept out of swap. Without the right to lock all of it, none is locked.

    Servers do not ask for it: most of their memory holds pages and events.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # also refuses ptrace(2) and /proc/PID/mem to all but root
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # With a limit, mlockall would not fail now but every allocation beyond the limit later.
    return locks_memory and _may_lock_all() and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0


def drop_from_environment(names: Iterable[str]) -> None:
    """Overwrite these variables where the kernel put them, and unset them, so that nothing reads them there later.

    /proc/PID/environ shows that place. Copies that the interpreter made of them go back to its heap: give secrets in
    files, if that matters.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    for name in names:
        if os.environ.get(name):
            place = libc.getenv(name.encode())
            if place:
                ctypes.memset(place, 0, len(ctypes.string_at(place)))
            del os.environ[name]


def _may_lock_all() -> bool:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return bool(effective >> _CAP_IPC_LOCK & 1)
