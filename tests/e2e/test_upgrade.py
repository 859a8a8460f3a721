"""Upgrade: a database that the last release made, with jobs queued and scheduled, is migrated and goes on signing.

On SQLite and on PostgreSQL, with a key of each mode. Each version runs its own code with its own ``manage.py``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from keycast.demo.environment import free_port
from keycast.nostr.client.checks import signed_as_asked
from tests.paths import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BEFORE_THE_FIRST_RELEASE: Final = "5961d6c17e768c68ed8375cd90c689777e7f43d0"
"""The last commit before modules got floors: jobs were in keycast.jobs, and two columns of keys had other names."""
WITHIN: Final = 90.0
"""Seconds that a server may take to be ready on a busy machine."""
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def last_release(tags: str, here: str) -> str:
    """The newest of ``tags`` that is not this commit's own (``here``); else the commit before the first one."""
    names = {name for name in tags.split() if re.fullmatch(r"v\d+\.\d+\.\d+", name)} - set(here.split())
    return max(names, key=lambda name: tuple(map(int, name[1:].split("."))), default=BEFORE_THE_FIRST_RELEASE)


def test_the_last_release_is_the_newest_tag_but_this_commits_own() -> None:
    assert last_release("", "") == BEFORE_THE_FIRST_RELEASE
    assert last_release("v0.2.0 nightly v0.2.0-rc1", "v0.2.0") == BEFORE_THE_FIRST_RELEASE
    assert last_release("v0.9.0 v0.10.0 v0.2.0", "") == "v0.10.0"
    assert last_release("v0.9.0 v0.10.0 v0.2.0", "v0.10.0") == "v0.9.0"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The tree of the last release."""
    release = last_release(git("tag", "--merged", "HEAD"), git("tag", "--points-at", "HEAD"))
    packed = subprocess.run(["git", "archive", release], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.fail(f"{release[:12]} is not in this clone: fetch the whole history (git fetch --unshallow --tags).")
    tree = tmp_path / "earlier"
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of a database in a cluster of its own, which refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="keycast-upgrade-"))
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    tools, port = POSTGRES[-1], free_port(20_000 + secrets.randbelow(20_000))

    def tool(name: str, *arguments: str) -> None:
        command = [*user, str(tools / name), *arguments]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=60)

    try:
        data = str(folder / "data")
        tool("initdb", "-D", data, "-A", "trust", "-U", "keycast", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        tool("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            tool("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "keycast", "keycast")
            yield f"postgres://keycast@127.0.0.1:{port}/keycast"
        finally:
            tool("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'keycast.sqlite3'}"
        return
    if not POSTGRES:
        assert os.environ.get("KEYCAST_TEST_ALL") != "1", "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    with postgresql() as url:
        yield url


@dataclass(slots=True)
class Deployment:
    """One database and its secrets, served by one version's code or another's."""

    variables: dict[str, str] = field(repr=False)
    port: int

    def run(self, tree: Path, *arguments: str, may_fail: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=tree,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert may_fail or done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return done.stdout if done.returncode == 0 else ""

    @contextmanager
    def served(self, tree: Path) -> Iterator[None]:
        """``manage.py serve``, ready; stopped as an operator stops it, and that has to end well."""
        command = [sys.executable, "manage.py", "serve", "--port", str(self.port)]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                command, cwd=tree, env=self.variables, stdout=log, stderr=log, start_new_session=True
            )

            def said() -> str:
                log.seek(0)
                return log.read()[-3000:]

            try:
                until(lambda: self._is_ready() or process.poll() is not None, said, pause=0.2)
                assert process.poll() is None, said()
                yield
                process.terminate()
                assert process.wait(40) == 0, said()
            finally:
                process.kill()
                process.wait()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def hsm_key(self, tree: Path) -> dict[str, Any]:
        """The key of the emulated HSM, once the server's children answer."""
        made = until(lambda: self.run(tree, "demo_setup", "--hsm", may_fail=True), "no key of the HSM", pause=2)
        found: dict[str, Any] = json.loads(made)
        return found

    def sign(self, tree: Path, bunker_url: str) -> str:
        """The public key that signed a note for a client; the note is verified."""
        note = {"kind": 1, "content": "After the upgrade", "created_at": int(time.time())}
        asked = ("--kind", "1", "--content", str(note["content"]), "--created-at", str(note["created_at"]), "--json")
        printed = self.run(tree, "nip46", "sign", "--bunker", bunker_url, *asked)
        return signed_as_asked(printed.strip(), note).pubkey


@pytest.fixture
def deployment(database: str, tmp_path: Path) -> Deployment:
    port = free_port(20_000 + secrets.randbelow(20_000))
    kms = free_port(20_000 + secrets.randbelow(20_000))
    folder = tmp_path / "var"
    folder.mkdir(mode=0o700)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    passwords = ("OPERATOR_PASSWORD", "OFFICER_PASSWORD", "USER_PASSWORD")
    factors = ("OPERATOR_TOTP", "OFFICER_TOTP")
    variables = {
        **kept,
        "KEYCAST_ENVIRONMENT": "development",
        "KEYCAST_DATA_DIR": str(folder),
        "KEYCAST_KEK_FILE": str(folder / "kek"),
        "DATABASE_URL": database,
        "KEYCAST_EMBEDDED": "1",
        "KEYCAST_LISTEN_PORT": str(port),
        "KEYCAST_PUBLIC_SCHEME": "http",
        "KEYCAST_PUBLIC_PORT": str(port),
        "KEYCAST_PLATFORM_HOSTS": "127.0.0.1",
        "KEYCAST_HSM_PROVIDERS": "google",
        "KEYCAST_KMS_EMULATOR": "1",
        "KEYCAST_KMS_EMULATOR_PORT": str(kms),
        "KEYCAST_GCP_KEY_RING": "projects/emulated/locations/europe-west1/keyRings/demo",
        "GRPC_VERBOSITY": "NONE",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "KEYCAST_FIELD_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_AUDIT_CHECKPOINT_KEY": "ed25519:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        **{f"KEYCAST_DEMO_{name}": secrets.token_urlsafe(12) for name in passwords},
        **{f"KEYCAST_DEMO_{name}": base64.b32encode(secrets.token_bytes(20)).decode() for name in factors},
    }
    return Deployment(variables, port)


QUEUE = "from django_q.tasks import async_task; print(async_task('{path}'))"
LOOK = (
    "import json, time\n"
    "from django_q.models import Schedule\n"
    "from keycast.operations.models import JobRun\n"
    "until = time.monotonic() + {within}\n"
    "while True:\n"
    "    run = JobRun.objects.filter(id='{task}').values_list('path', 'outcome').first()\n"
    "    if run or time.monotonic() > until:\n"
    "        break\n"
    "    time.sleep(0.2)\n"
    "print(json.dumps([run, list(Schedule.objects.values_list('func', flat=True))]))\n"
)


def test_a_database_of_the_last_release_goes_on_signing(earlier: Path, deployment: Deployment) -> None:
    first = json.loads(deployment.run(earlier, "demo_setup"))
    with deployment.served(earlier):
        encrypted = deployment.sign(earlier, first["own_bunker_url"])
        split = deployment.sign(earlier, deployment.hsm_key(earlier)["own_bunker_url"])
    # A job under the path that it had in the earlier version, queued while nothing runs.
    moved = (earlier / "keycast" / "operations" / "jobs.py").exists()
    job = "keycast.operations.jobs.forget_old_runs" if moved else "keycast.jobs.forget_old_runs"
    task = deployment.run(earlier, "shell", "-c", QUEUE.format(path=job)).split()[-1]

    second = json.loads(deployment.run(ROOT, "demo_setup"))  # migrates
    assert second["keys"][0]["npub"] == first["keys"][0]["npub"]
    deployment.run(ROOT, "migrate", "--check")
    with deployment.served(ROOT):
        assert deployment.sign(ROOT, second["own_bunker_url"]) == encrypted
        assert deployment.sign(ROOT, deployment.hsm_key(ROOT)["own_bunker_url"]) == split
        ran, paths = wait_for_job(deployment, task)
    assert ran == [job, "ok"]
    assert "keycast.operations.jobs.heartbeat" in paths
    assert not any(path.startswith("keycast.jobs.") for path in paths)
    deployment.run(ROOT, "verify_audit")


def wait_for_job(deployment: Deployment, task: str) -> tuple[list[str], list[str]]:
    """How the job ended, and the paths of all schedules. One process waits: to start one takes longer than to look."""
    look = LOOK.format(task=task, within=WITHIN)
    ran, paths = json.loads(deployment.run(ROOT, "shell", "-c", look).splitlines()[-1])
    return ran, paths
