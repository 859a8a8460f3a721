"""A whole embedded server in a folder of its own, for tests that look at Keycast from the outside."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from keycast.demo import walkthrough
from keycast.demo.environment import DemoEnvironment, free_port
from keycast.demo.processes import ServerProcess
from tests.leftovers import may_stay
from tests.paths import ROOT
from tests.waiting import LONG

ALSO = {"KEYCAST_SIGNER_CHILD": "1"} if os.environ.get("KEYCAST_TEST_SIGNER") == "remote" else {}
Beside = Callable[[dict[str, str]], AbstractContextManager[None]]


@dataclass(slots=True)
class LiveServer:
    """A running server: one tenant on localhost, open for registration, with one user; the admin on 127.0.0.1.

    ``user``, ``operator`` and ``officer`` are dictionaries with email, password (and totp_secret), as in var/demo.json.
    """

    portal_url: str
    admin_url: str
    relay_url: str
    folder: Path
    environment: dict[str, str] = field(repr=False)
    user: dict[str, str] = field(repr=False)
    operator: dict[str, str] = field(repr=False)
    officer: dict[str, str] = field(repr=False)
    npub: str = ""
    process: ServerProcess | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def restart(self) -> None:
        """Stop the server as an operator does, and start it anew at the same address; back when it is ready."""
        assert self.process
        self.process.stop()
        assert self.process.exit_code == 0, "the server did not drain properly"
        self.process = ServerProcess(self.environment, self.process.port)
        may_stay(self.process.pid)
        self.process.__enter__()

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """Run ``manage.py ARGUMENTS`` on this server's data; returns standard output, raises if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {arguments[0]}: {done.stderr[-2000:]}"
        return done.stdout

    def create_key(self, name: str, mode: str = "encrypted") -> tuple[str, str]:
        """A further key of the user, perhaps still pending: (npub, public key in hex)."""
        lines = self.python(
            "from accounts.models import Tenant, User; from keycast.audit.entries import Actor;"
            "from keycast.nostr import nip19; from keys.services import create_key;"
            "key = create_key(actor=Actor.command('test'), tenant=Tenant.objects.get(),"
            f" user=User.objects.get(email={self.user['email']!r}), name={name!r}, key_mode={mode!r});"
            "print(nip19.encode_npub(key.public_key), key.public_key)"
        )
        npub, public_key = lines.split()
        return npub, public_key

    def bunker_url(self, *, key: str = "", policy: str = "full", name: str = "Test app") -> str:
        """A fresh bunker URL for a key (npub; default: the user's first)."""
        return self.manage("bunker_url", "--key", key or self.npub, "--policy", policy, "--name", name).strip()

    def python(self, code: str) -> str:
        """Run code with Django set up on this server's data, outside any tenant's scope."""
        quickly = "import gc; gc.disable(); import django; django.setup(); from django_scopes import scopes_disabled"
        start = f"{quickly}\nwith scopes_disabled():\n "
        environment = {**self.environment, "DJANGO_SETTINGS_MODULE": "keycast.settings"}
        done = subprocess.run(
            [sys.executable, "-c", start + code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    def until(self, imports: str, look: str, found: str = "found") -> str:
        """What the expression ``look`` gives once ``found``, an expression of it, is true, or after a long time.

        One process looks again and again: to start one takes many times as long as to look.
        """
        lines = (
            f"import time; {imports}",
            f"end = time.monotonic() + {LONG}",
            "while True:",
            f" found = {look}",
            f" if {found} or time.monotonic() > end: break",
            " time.sleep(0.1)",
            "print(found)",
        )
        return self.python("\n ".join(lines))

    def mails(self) -> list[str]:
        """All mails sent so far, oldest first, as text."""
        files = sorted((self.folder / "mail").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text() for path in files]


@contextmanager
def live(
    extra: dict[str, str] | None = None,
    beside: Beside | None = None,
    *,
    hsm: bool = False,
    kek_file: Path | None = None,
) -> Iterator[LiveServer]:
    """Set a server up, serve it, and throw it away. ``beside`` is what must run beside it, given its environment.

    With ``hsm`` there are an emulated Cloud KMS and a co-signer, and the tenant offers both key modes. Setting up is
    done by a process that signs by itself; with KEYCAST_TEST_SIGNER=remote the server then runs a signer as its child.
    """
    with tempfile.TemporaryDirectory(prefix="keycast-e2e-") as folder, _database() as database:
        surroundings = DemoEnvironment.prepare(Path(folder), free_port(20_000 + secrets.randbelow(20_000)), has_hsm=hsm)
        mail = Path(folder) / "mail"
        mail.mkdir()
        environment = {
            **surroundings.environment(),
            **database,
            "EMAIL_URL": f"filemail:///{mail}",  # django-environ takes one slash away
            "PYTHONPATH": str(ROOT),
            **ALSO,
            **(extra or {}),
        }
        signs_itself = {"KEYCAST_SIGNER_CHILD": "0", "KEYCAST_SIGNER_SOCKET": ""}
        key_file = {"KEYCAST_KEK_FILE": str(kek_file or surroundings.folder / "kek")}
        setup = subprocess.run(
            [sys.executable, "manage.py", "demo_setup"],
            cwd=ROOT,
            env={**environment, **signs_itself, **key_file},
            capture_output=True,
            text=True,
            check=False,
        )
        assert setup.returncode == 0, setup.stderr[-2000:]
        made = json.loads(setup.stdout)
        server = LiveServer(
            surroundings.portal_url,
            surroundings.admin_url,
            surroundings.relay_url,
            surroundings.folder,
            environment,
            *made["users"],
            npub=made["keys"][0]["npub"],
        )
        with beside(environment) if beside else nullcontext():
            server.process = ServerProcess(environment, surroundings.port)
            try:
                server.process.__enter__()
                if hsm:
                    walkthrough.wait_for_hsm(environment)
                    offer_both_modes(server)
                yield server
            finally:
                server.process.stop()
        assert server.process.exit_code == 0, "the server did not drain properly"


def offer_both_modes(server: LiveServer) -> None:
    """Let the tenant's people choose either mode."""
    server.python(
        "from accounts.models import Tenant; from accounts.services.tenants import change_tenant;"
        "from keycast.audit.entries import Actor;"
        "change_tenant(actor=Actor.command('test'), tenant=Tenant.objects.get(), key_modes=['encrypted', 'hsm'])"
    )


@contextmanager
def _database() -> Iterator[dict[str, str]]:
    """A database of its own beside the one that the tests use, where that is PostgreSQL; else the folder's SQLite."""
    given = os.environ.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        yield {}
        return
    import psycopg

    name = f"e2e_{secrets.token_hex(6)}"
    with psycopg.connect(given.replace("postgres://", "postgresql://", 1), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            yield {"DATABASE_URL": urlunsplit(urlsplit(given)._replace(path=f"/{name}")), **_redis()}
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _redis() -> dict[str, str]:
    """Another database of the same Redis for each process of the suite."""
    given = os.environ.get("REDIS_URL", "")
    if not given:
        return {}
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return {"REDIS_URL": urlunsplit(urlsplit(given)._replace(path=f"/{1 + int(worker) % 15}"))}
