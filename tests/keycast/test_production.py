"""The real commands in a production environment: what is unsafe does not start, what is safe does."""

from __future__ import annotations

import base64
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.production import Environment, environment_in, get, is_ready, manage, probe_token, serving


@pytest.fixture
def production(tmp_path: Path) -> Environment:
    return environment_in(tmp_path)


ZERO = base64.b64encode(bytes(32)).decode()
DEVELOPMENT = "insecure-development-only-secret-key-do-not-deploy"
UNSAFE: dict[str, tuple[Environment, str]] = {
    "debug": ({"DEBUG": "1"}, "keycast.E001"),
    "weak secret key": ({"SECRET_KEY": "short"}, "keycast.E002"),
    "no key-encryption key": ({"KEYCAST_KEK_FILE": ""}, "keycast.E003"),
    "all-zero key-encryption key": ({"KEYCAST_KEK_FILE": "", "KEYCAST_KEK": f"1:{ZERO}"}, "keycast.E031"),
    "all-zero field key": ({"KEYCAST_FIELD_KEY": ZERO}, "keycast.E031"),
    "http": ({"KEYCAST_PUBLIC_SCHEME": "http"}, "keycast.E015"),
    "console mail": ({"EMAIL_URL": "consolemail://"}, "keycast.E020"),
    "no platform host": ({"KEYCAST_PLATFORM_HOSTS": ""}, "keycast.E017"),
    "no HSTS": ({"KEYCAST_HSTS_SECONDS": "0"}, "keycast.E016"),
    "development key among the earlier": ({"SECRET_KEY_FALLBACKS": DEVELOPMENT}, "keycast.E033"),
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
    ended = manage(production, "check", "--deploy", "--fail-level", "WARNING")
    assert ended.stderr.splitlines()[:1] == ["System check identified no issues (0 silenced)."] or not ended.returncode


def test_a_key_file_that_others_may_read_is_no_start(production: Environment) -> None:
    Path(production["KEYCAST_KEK_FILE"]).chmod(0o644)
    assert "keycast.E023" in manage(production, "serve").stderr


def test_limits_of_connections_that_no_process_could_keep_are_no_start(production: Environment) -> None:
    ended = manage({**production, "KEYCAST_CONNECTION_LIMITS": "connections=999999999"}, "serve")
    assert ended.returncode == 1
    assert "LimitNOFILE" in ended.stderr


def test_files_of_a_database_are_its_owners_alone_also_those_of_an_earlier_version(production: Environment) -> None:
    folder = Path(production["KEYCAST_DATA_DIR"])
    database = folder / "db.sqlite3"
    database.touch(0o644)
    database.chmod(0o644)
    assert "keycast.E034" in manage(production, "serve").stderr
    assert manage(production, "migrate", "--verbosity", "0", seconds=300).returncode == 0
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir() if file.is_file()}
    assert set(modes.values()) == {0o600}, modes


@pytest.fixture
def server(production: Environment) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with serving(production) as running:
        yield running


@pytest.mark.timeout(300)
def test_the_embedded_server_starts_serves_and_ends_with_zero_on_sigterm(
    production: Environment,
    server: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = server
    url = f"http://127.0.0.1:{port}/"
    assert is_ready(production, url)
    assert get(f"{url}readyz")[0] == get(f"{url}metrics")[0] == 404
    assert get(f"{url}healthz") == (200, "ok\n")
    assert get(url)[0] == 404
    assert "keycast_bunker_requests" in get(f"{url}metrics", probe_token(production))[1]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    for pid in (str(process.pid), *children):
        said = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in said
        assert "Umask:\t0077" in said
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line.split()[4:6] for line in limits if line.startswith("Max core file size")) == ["0", "0"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
