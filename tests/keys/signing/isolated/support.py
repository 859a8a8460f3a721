"""A signer that is a process of its own, and a test process that asks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.test import override_settings

from keys.signing import factory, runtime
from keys.signing.isolated import access
from tests.paths import ROOT

KEK = "test-1:5Rk4v3Yd2hXbq0uJ8nQmTzWc7LsFgE6aPoViB1xKyNM="
"""As in tests.settings."""


class SignerProcess:
    """``manage.py signer`` in a folder of its own."""

    def __init__(self, folder: Path, *, user: int | None = None, socket: Path | None = None, **environment: str):
        self.folder, self.socket = folder, socket or folder / "signer.sock"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "KEYCAST_ENVIRONMENT": "test",
            "KEYCAST_DATA_DIR": str(folder),
            "KEYCAST_SIGNER_SOCKET": str(self.socket),
            "KEYCAST_KEK": KEK,
            "DATABASE_URL": "sqlite:////nonexistent/main.sqlite3",
            **environment,
        }
        self._user = user
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "signer"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=self._user,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.said = self.process.stdout.readline()
        if "listens on" not in self.said:
            self.process.wait(timeout=30)
            raise AssertionError(self.process.stderr.read()[-2000:])

    @property
    def pid(self) -> int:
        return self.process.pid

    def pause(self) -> None:
        """Let it hang: it holds its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
        self.errors = self.process.communicate(timeout=30)[1]
        return self.process.returncode

    def __enter__(self) -> SignerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_anew() -> None:
    """Have this process decide again where it signs."""
    for service in (runtime.signing_service, runtime.transport_service):
        if service.cache_info().currsize:
            service().forget_all()
    for made in (runtime.signing_service, runtime.transport_service, factory.key_maker, access.client):
        made.cache_clear()
    access._seen.clear()


@contextmanager
def asking(socket: Path | str) -> Iterator[None]:
    """This process signs nothing itself meanwhile: it asks the signer at ``socket``; with "" it signs by itself."""
    start_anew()
    with override_settings(SIGNER_SOCKET=str(socket)):
        try:
            yield
        finally:
            start_anew()
    start_anew()
