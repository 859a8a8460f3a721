"""The demo's folder, its secrets, and the environment that its processes run in."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

PORTAL_HOST: Final = "localhost"
ADMIN_HOST: Final = "127.0.0.1"
"""The staff admin lives on a host of its own (KEYCAST_PLATFORM_HOSTS); both names lead to the same server."""

_OURS: Final = (
    "KEYCAST_",
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "KEY_MODE",
    "EMAIL_URL",
    "DEBUG",
    "ALLOWED_HOSTS",
)

HONOURED: Final = (
    "KEYCAST_KMS_EMULATOR_PORT",
    "KEYCAST_LOG_LEVEL",
    "KEYCAST_RELAYS",
    "KEYCAST_RELAY_ALLOW_PRIVATE",
)
"""What may be chosen in the shell: where the emulator listens, how much is logged, which relays may be used."""


def _fresh_secrets() -> dict[str, str]:
    return {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "KEYCAST_FIELD_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_AUDIT_CHECKPOINT_KEY": "ed25519:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "KEYCAST_DEMO_OPERATOR_PASSWORD": secrets.token_urlsafe(12),
        "KEYCAST_DEMO_OPERATOR_TOTP": base64.b32encode(secrets.token_bytes(20)).decode(),
        "KEYCAST_DEMO_OFFICER_PASSWORD": secrets.token_urlsafe(12),
        "KEYCAST_DEMO_OFFICER_TOTP": base64.b32encode(secrets.token_bytes(20)).decode(),
        "KEYCAST_DEMO_USER_PASSWORD": secrets.token_urlsafe(12),
    }


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """Where a demo lives. ``secrets`` are drawn on the first start and kept in ``demo.env`` in ``folder``."""

    folder: Path
    port: int
    secrets: dict[str, str] = field(repr=False)
    has_hsm: bool = False

    @classmethod
    def prepare(cls, folder: Path, port: int, *, has_hsm: bool = False) -> DemoEnvironment:
        """Make the folder and ``demo.env``; a second start keeps the secrets that the first one made.

        With ``has_hsm`` the server also offers keys authorised by Cloud KMS, emulated at a socket in ``folder`` or at
        KEYCAST_KMS_EMULATOR_PORT.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "demo.env"
        known = _read(file)
        found = cls(folder, port, {name: known.get(name, value) for name, value in _fresh_secrets().items()}, has_hsm)
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in found.variables().items())
        write_private(file, "# Settings of the demo, for a shell: set -a; . demo.env; set +a\n" + "".join(lines))
        return found

    @staticmethod
    def kept(folder: Path) -> dict[str, str]:
        """The settings and secrets of a demo that was started in ``folder``; empty where none was."""
        return _read(folder / "demo.env")

    @property
    def portal_url(self) -> str:
        return f"http://{PORTAL_HOST}:{self.port}/"

    @property
    def mails(self) -> Path:
        """Where the mails that it sends can be read: sign-in codes, and what owners are told."""
        return self.folder / "mails"

    @property
    def admin_url(self) -> str:
        return f"http://{ADMIN_HOST}:{self.port}/admin/"

    @property
    def relay_url(self) -> str:
        return f"ws://{PORTAL_HOST}:{self.port}/relay"

    def variables(self) -> dict[str, str]:
        """The settings of every process of the demo."""
        return {
            "KEYCAST_ENVIRONMENT": "development",
            "KEYCAST_DATA_DIR": str(self.folder),
            "KEYCAST_KEK_FILE": str(self.folder / "kek"),
            "KEYCAST_AUDIT_CHECKPOINT_FILE": str(self.folder / "checkpoints.jsonl"),
            "DATABASE_URL": f"sqlite:///{self.folder / 'keycast.sqlite3'}",
            "REDIS_URL": "",
            "KEYCAST_EMBEDDED": "1",
            "KEYCAST_LISTEN_HOST": "127.0.0.1",
            "KEYCAST_LISTEN_PORT": str(self.port),
            "KEYCAST_PUBLIC_SCHEME": "http",
            "KEYCAST_PUBLIC_PORT": str(self.port),
            "KEYCAST_PLATFORM_HOSTS": ADMIN_HOST,
            "KEYCAST_LOG_LEVEL": "WARNING",
            "EMAIL_URL": f"filemail:///{quote(str(self.mails))}",  # django-environ takes one slash away
            **(self._emulated_hsm() if self.has_hsm else {}),
            **self.secrets,
            **{name: os.environ[name] for name in HONOURED if name in os.environ},
        }

    def _emulated_hsm(self) -> dict[str, str]:
        return {
            "KEYCAST_HSM_PROVIDERS": "google",
            "KEYCAST_KMS_EMULATOR": "1",
            "GRPC_VERBOSITY": "NONE",
            "KEYCAST_GCP_KEY_RING": "projects/emulated/locations/europe-west1/keyRings/demo",
        }

    def environment(self) -> dict[str, str]:
        """``variables`` on top of this shell's environment, whose own settings for a Keycast do not leak in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return {**kept, **self.variables()}


def free_port(wanted: int) -> int:
    """``wanted``, or the next one that is free, or any free one."""
    for port in [*range(wanted, wanted + 20), 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on the loopback interface")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner can read it."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def _read(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)
