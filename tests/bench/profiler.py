"""``python -m tests.bench.profiler OUT serve ...``: manage.py under a sampling profiler that counts CPU, not time.

Every millisecond of the process's CPU, each thread's CPU since the last sample is credited to the stack it shows now.
Stacks are written to OUT as JSON when the command ends: ``[[["file:function", ...outermost first], seconds], ...]``.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
DEPTH = 60

_stacks: Counter[tuple[str, ...]] = Counter()
_clocks: dict[int, int] = {}
_used: dict[int, float] = {}


def _sample(number: int, current: FrameType | None) -> None:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        ident = thread.ident
        frame = current if ident == threading.main_thread().ident else frames.get(ident or 0)
        if ident is None or frame is None:
            continue
        try:
            clock = _clocks.setdefault(ident, time.pthread_getcpuclockid(ident))
            now = time.clock_gettime(clock)
        except OSError:
            continue
        spent = now - _used.get(ident, now)
        _used[ident] = now
        if spent > 0:
            _stacks[_stack(frame)] += spent


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    found = []
    while frame is not None and len(found) < DEPTH:
        name = frame.f_code.co_filename
        found.append(f"{'/'.join(Path(name).parts[-3:])}:{frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(reversed(found))


def _reset(*_signal: object) -> None:
    """SIGUSR1: the warm-up is over."""
    _stacks.clear()


def main() -> None:
    out, arguments = Path(sys.argv[1]), sys.argv[2:]
    from django.core.management import execute_from_command_line

    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _reset)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        execute_from_command_line(["manage.py", *arguments])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(json.dumps([[list(stack), seconds] for stack, seconds in _stacks.items()]))


if __name__ == "__main__":
    main()
