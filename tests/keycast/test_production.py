"""The real commands in a production environment: what is unsafe does not start, what is safe does."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

Environment = dict[str, str]


@pytest.fixture
def production(tmp_path: Path) -> Environment:
    """A production environment that may start: embedded, SQLite, in a folder of its own."""
    kek = tmp_path / "kek"
    kek.write_text(f"2026-01-01:{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    kek.chmod(0o600)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "KEYCAST_ENVIRONMENT": "production",
        "KEYCAST_DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "KEYCAST_KEK_FILE": str(kek),
        "KEYCAST_FIELD_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_PLATFORM_HOSTS": "admin.test",
        "KEYCAST_STATIC_ROOT": str(tmp_path),
        "KEYCAST_LISTEN_PORT": "0",
    }


def manage(environment: Environment, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


UNSAFE: dict[str, tuple[Environment, str]] = {
    "debug": ({"DEBUG": "1"}, "keycast.E001"),
    "weak secret key": ({"SECRET_KEY": "short"}, "keycast.E002"),
    "no key-encryption key": ({"KEYCAST_KEK_FILE": ""}, "keycast.E003"),
    "emulator": ({"KEYCAST_EMULATOR": "127.0.0.1:9"}, "keycast.E005"),
    "memory layer, several processes": ({"KEYCAST_EMBEDDED": "0"}, "keycast.E008"),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_the_server_refuses_to_start(production: Environment, kind: str) -> None:
    change, id_ = UNSAFE[kind]
    ended = manage({**production, **change}, "serve")
    assert ended.returncode != 0
    assert id_ in ended.stderr
    assert "listens on" not in ended.stdout
    assert production["SECRET_KEY"] not in ended.stderr


@pytest.mark.parametrize("command", ["bunker", "qcluster"])
def test_the_worker_and_the_jobs_refuse_to_start(production: Environment, command: str) -> None:
    ended = manage({**production, "DEBUG": "1"}, command)
    assert ended.returncode != 0
    assert "keycast.E001" in ended.stderr


def test_the_asgi_application_refuses_to_be_imported(production: Environment) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import keycast.asgi"],
        cwd=ROOT,
        env={**production, "DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "UnsafeToStart" in ended.stderr
    assert "keycast.E001" in ended.stderr


def test_a_missing_secret_key_is_no_start_either(production: Environment) -> None:
    del production["SECRET_KEY"]
    assert "SECRET_KEY (or SECRET_KEY_FILE) must be set" in manage(production, "serve").stderr


def test_a_forgotten_environment_is_production(production: Environment) -> None:
    del production["KEYCAST_ENVIRONMENT"]
    assert "keycast.E001" in manage({**production, "DEBUG": "1"}, "serve").stderr


def test_safe_settings_pass_the_deploy_check(production: Environment) -> None:
    ended = manage({**production, "EMAIL_URL": "smtp://localhost:25"}, "check", "--deploy", "--fail-level", "WARNING")
    assert ended.stderr.splitlines()[:1] == ["System check identified no issues (0 silenced)."] or not ended.returncode


def address_in(line: str) -> str:
    return line.rsplit(" ", 1)[-1].strip()


@pytest.fixture
def server(production: Environment) -> Iterator[subprocess.Popen[str]]:
    assert manage(production, "migrate", "--verbosity", "0").returncode == 0
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "serve"], env=production, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.wait()


def get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ready(url: str, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if get(f"{url}readyz")[0] == 200:
            return True
        time.sleep(0.2)
    return False


def test_the_embedded_server_starts_serves_and_ends_with_zero_on_sigterm(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    url = address_in(server.stdout.readline())
    assert ready(url)
    assert get(f"{url}healthz") == (200, "ok\n")
    assert get(url)[0] == 404
    assert "keycast_bunker_requests" in get(f"{url}metrics")[1]
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    assert children
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
