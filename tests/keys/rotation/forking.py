"""The test's side of zygote.py, and what is looked at after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from django.db import connection
from django_scopes import scopes_disabled

from keys.errors import KeyDamaged
from keys.refs import SealedSecret
from keys.rotation import sealed_columns
from keys.signing import envelope
from keys.signing.kms import keyfile, registry
from tests.paths import ROOT


class Zygote:
    """Starts commands in processes of their own, against the test's database and key file."""

    def __init__(self) -> None:
        environment = {**os.environ, "KEYCAST_TEST_ROOT": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"}
        environment |= {"DATABASE_URL": database_url(), "KEYCAST_LOG_LEVEL": "ERROR"}
        environment |= {"KEYCAST_ROTATION_LEASE_SECONDS": "0.2"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
        )

    def start(self, *command: str, step: str = "-") -> int:
        """The process id of a command that will die at ``step``."""
        return int(self._ask(f"RUN {step} {' '.join(command)}"))

    def wait(self, pid: int) -> int:
        """How it ended: its exit code, or minus the signal."""
        return int(self._ask(f"WAIT {pid}"))

    def run(self, *command: str, step: str = "-") -> int:
        return self.wait(self.start(*command, step=step))

    def kill(self, pid: int) -> int:
        self.signal(pid, signal.SIGKILL)
        return self.wait(pid)

    def signal(self, pid: int, number: int) -> None:
        os.kill(pid, number)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def database_url() -> str:
    """The test's database, for another process."""
    known = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{known['NAME']}"
    host, port = known["HOST"] or "localhost", known["PORT"] or 5432
    return f"postgres://{known['USER']}:{known['PASSWORD']}@{host}:{port}/{known['NAME']}"


def versions(path: Path) -> list[str]:
    """The versions in a key file, the current one last."""
    return list(keyfile.parse(path.read_bytes()))


def opening_versions(path: Path) -> Counter[int]:
    """Under how many versions of the file each sealed row opens, however many rows."""
    provider, counts = registry.provider("local"), Counter[int]()
    with scopes_disabled():
        rows = [shelf.take(row) for shelf in sealed_columns.sealed_columns() for row in shelf.rows()]
    for row in rows:
        counts[sum(_opens(row, version, provider) for version in versions(path))] += 1
    return counts


def _opens(row: sealed_columns.SealedRow, version: str, provider: object) -> bool:
    try:
        envelope.unseal(SealedSecret("local", version, row.sealed.blob), row.place, provider).wipe()  # type: ignore[arg-type]
    except KeyDamaged:
        return False
    return True


def sealed_under() -> dict[str, int]:
    """How many secrets are sealed under each version."""
    with scopes_disabled():
        return {version: sum(held.values()) for version, held in sealed_columns.references().items()}
