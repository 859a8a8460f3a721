"""The real commands in a production environment: what is unsafe does not start, what is safe does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.production import Environment, environment_in, get, is_ready, manage, serving


@pytest.fixture
def production(tmp_path: Path) -> Environment:
    return environment_in(tmp_path)


UNSAFE: dict[str, tuple[Environment, str]] = {
    "debug": ({"DEBUG": "1"}, "keycast.E001"),
    "weak secret key": ({"SECRET_KEY": "short"}, "keycast.E002"),
    "no key-encryption key": ({"KEYCAST_KEK_FILE": ""}, "keycast.E003"),
    "emulator": ({"KEYCAST_EMULATOR": "127.0.0.1:9"}, "keycast.E005"),
    "memory layer, several processes": ({"KEYCAST_EMBEDDED": "0"}, "keycast.E008"),
    "several processes that each hold the key": ({"KEYCAST_EMBEDDED": "0"}, "keycast.E035"),
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
    ended = manage({**production, "DEBUG": "1", "KEYCAST_EMBEDDED": "0"}, command)
    assert ended.returncode != 0
    assert "keycast.E001" in ended.stderr
    assert "keycast.E035" in ended.stderr


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


@pytest.fixture
def server(production: Environment) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with serving(production) as running:
        yield running


def test_the_embedded_server_starts_serves_and_ends_with_zero_on_sigterm(
    server: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = server
    url = f"http://127.0.0.1:{port}/"
    assert is_ready(url)
    assert get(f"{url}healthz") == (200, "ok\n")
    assert get(url)[0] == 404
    assert "keycast_bunker_requests" in get(f"{url}metrics")[1]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
