"""Forks management commands on demand, so that a test can kill dozens. Run as a script; never imported by tests.

Reads lines ``RUN <step or -> <command> <arguments…>`` on stdin and answers each with the child's process id; ``WAIT
<pid>`` is answered with its exit status (negative: the signal that ended it). One row is one batch, so that a kill can
fall after every single row.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import django

sys.path.insert(0, os.environ["KEYCAST_TEST_ROOT"])
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.management.base import CommandError  # noqa: E402

from keycast.base import crash  # noqa: E402
from keys.rotation.kinds.sealed import RewrapRotation  # noqa: E402


def _stand_alone() -> None:
    """Hold none of the parent's pipes, and die with it (prctl(2), PR_SET_PDEATHSIG)."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _child(step: str, command: list[str]) -> int:
    _stand_alone()
    crash.arm("" if step == "-" else step)
    RewrapRotation.batch = 1
    try:
        call_command(*command)
    except SystemExit as ended:
        return int(ended.code or 0)
    except CommandError as refused:
        return refused.returncode
    return 0


def main() -> None:
    for line in sys.stdin:
        verb, first, *more = line.split()
        if verb == "WAIT":
            _, status = os.waitpid(int(first), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os._exit(_child(first, more))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
