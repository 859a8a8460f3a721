"""A child process that lives no longer than we do."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping

from django.conf import settings

PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "KEYCAST_PARENT_PID"
STOP_WITHIN = 12.0
"""Seconds between SIGTERM and SIGKILL."""


Watch = Callable[[asyncio.Event], Awaitable[None]]


class ChildEnded(Exception):
    """The child process ended though nobody asked it to."""


def end_with_parent() -> None:
    """In a child that we started: have Linux send SIGTERM when the parent dies, however it dies (prctl(2))."""
    parent = os.environ.get(PARENT_VARIABLE)
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        raise SystemExit("The process that started this one is gone.")


def manage_command(*arguments: str) -> list[str]:
    """The arguments of a process that runs one of our commands: by ``manage.py``, or by the installed package.

    The installed package is asked for with ``-P``, so that a folder ``keycast`` where we happen to stand is not run.
    """
    program = [str(settings.BASE_DIR / "manage.py")] if settings.IS_CHECKOUT else ["-P", "-m", "keycast"]
    return [sys.executable, *program, *arguments]


async def run_command(
    stop: asyncio.Event, *arguments: str, environment: Mapping[str, str] | None = None, watch: Watch | None = None
) -> None:
    """Run ``manage.py ARGUMENTS`` until ``stop`` is set, then end it; raises ChildEnded when it ends by itself.

    It inherits our environment unless it is given another one. ``watch`` raises when the child, though alive, is of no
    use any more: the child is ended, and what was raised is raised here.
    """
    inherited = os.environ if environment is None else environment
    process = await asyncio.create_subprocess_exec(
        *manage_command(*arguments),
        env={**inherited, PARENT_VARIABLE: str(os.getpid())},
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    ended, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
    watching = asyncio.ensure_future(watch(stop) if watch else stop.wait())
    try:
        await asyncio.wait({ended, stopped, watching}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise ChildEnded(f"{arguments[0]} ended with exit code {process.returncode}")
        if watching.done():
            watching.result()
    finally:
        stopped.cancel()
        watching.cancel()
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own children too: nobody would end them any more
        await process.wait()
