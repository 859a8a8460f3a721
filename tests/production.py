"""A production environment in a folder of its own, and the real server in it, for tests that look from the outside."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import ROOT

Environment = dict[str, str]


def environment_in(folder: Path) -> Environment:
    """What may start: the embedded shape on SQLite."""
    kek = folder / "kek"
    kek.write_text(f"2026-01-01:{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    kek.chmod(0o600)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "KEYCAST_ENVIRONMENT": "production",
        "KEYCAST_DATA_DIR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "KEYCAST_KEK_FILE": str(kek),
        "KEYCAST_FIELD_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_PLATFORM_HOSTS": "admin.test",
        "EMAIL_URL": "smtp://localhost:25",
        "KEYCAST_STATIC_ROOT": str(folder),
        "KEYCAST_LISTEN_PORT": "0",
    }


def manage(environment: Environment, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command; what it printed, and its exit code."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@contextmanager
def serving(environment: Environment) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Migrate, and run ``manage.py serve`` until the block ends: the process, and its port."""
    assert manage(environment, "migrate", "--verbosity", "0", seconds=300).returncode == 0
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "serve"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().rsplit(":", 1)[-1].strip(" /\n"))
    finally:
        process.kill()
        process.wait()


def get(url: str, token: str = "") -> tuple[int, str]:
    """Status and body of a page, without a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.addheaders = [("Authorization", f"Bearer {token}")] if token else []
    try:
        with opener.open(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def probe_token(environment: Environment) -> str:
    """What the server made for its probes."""
    return Path(environment["KEYCAST_DATA_DIR"], "probe-token").read_text()


def is_ready(environment: Environment, url: str, seconds: float = 120) -> bool:
    """Wait until /readyz says so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if get(f"{url}readyz", probe_token(environment))[0] == 200:
            return True
        time.sleep(0.2)
    return False
