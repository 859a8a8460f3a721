"""The demo's processes: commands that run to their end, and the one server."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from keycast.base.child_processes import PARENT_VARIABLE, manage_command

READY_WITHIN: Final = 120.0
STOP_WITHIN: Final = 20.0


class DemoFailed(Exception):
    """A step of the demo failed; the text says which."""


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Run ``manage.py ARGUMENTS`` to its end; returns its standard output, lets the rest be seen."""
    done = subprocess.run(  # noqa: S603  (our own program, arguments as a list)
        _command(*arguments),
        env={**environment, PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoFailed(f"manage.py {arguments[0]} ended with exit code {done.returncode}.")
    return done.stdout


class ServerProcess:
    """``manage.py serve`` as a child that ends with us; as a context, from ready to stopped.

    ``place`` is a port, or a listening socket that the child takes over together with the descriptors ``kept_open``.
    ``program`` (Python's arguments) may stand in for manage.py, a profiler for example. ``exit_code`` is known once the
    server has stopped; 0 means that it drained properly.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        place: int | socket.socket,
        program: Sequence[str] = (),
        kept_open: Sequence[int] = (),
    ) -> None:
        listener = None if isinstance(place, int) else place
        self.port: int = place if isinstance(place, int) else place.getsockname()[1]
        self.exit_code: int | None = None
        where = ("--port", str(self.port)) if listener is None else ("--fd", str(listener.fileno()))
        self._process = subprocess.Popen(  # noqa: S603
            _command("serve", "--verbosity", "0", *where, program=program),
            env={**environment, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[*kept_open, *([listener.fileno()] if listener else [])],
        )
        if listener:
            listener.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Return when the server ends; raises DemoFailed, as nobody asked it to."""
        raise DemoFailed(f"The server ended with exit code {self._process.wait()}.")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        self._process.terminate()
        try:
            self.exit_code = self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not _is_ready(self.port):
            if self._process.poll() is not None:
                raise DemoFailed(f"The server ended with exit code {self._process.returncode}.")
            if time.monotonic() > deadline:
                raise DemoFailed(f"The server was not ready within {READY_WITHIN:.0f} seconds.")
            time.sleep(0.1)


def _command(*arguments: str, program: Sequence[str] = ()) -> list[str]:
    return [sys.executable, *program, *arguments] if program else manage_command(*arguments)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
