"""Versions of the local key-encryption key, as lines of its file. A file is replaced whole, or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils import timezone

from keys.errors import KekUnavailable
from keys.signing.kms import keyfile, registry
from keys.signing.kms.local import key_file

FRESH_SECONDS: Final = 60.0
"""So long after a change of the file, a transaction may be open that sealed something just before it."""
_BY_HAND: Final = (
    "Append a line “version:base64 of 32 random bytes” to it (manage.py generate_kek --print makes one), keep the old "
    "lines. Processes that read a file notice; those that got KEYCAST_KEK must be restarted. Then run this command "
    "again: it will seal everything under the new version."
)


class FileKekVersions:
    """A KekVersionManager (keys.signing.kms.versions). ``path`` is None where the keys come from an environment
    variable."""

    settle_seconds = 0.0

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def from_settings(cls) -> FileKekVersions:
        """As keys.signing.kms.local reads it."""
        return cls(key_file())

    def problem(self) -> str:
        if registry.is_elsewhere():
            return (
                "The key-encryption key is with the isolated signer. On its machine run: manage.py generate_kek "
                "--new-version --path FILE; then run this command again."
            )
        if self._path is None:
            return f"The key-encryption key comes from KEYCAST_KEK, which no command can change. {_BY_HAND}"
        if not self._is_writable():
            return f"The key-encryption key file {self._path} cannot be written from here. {_BY_HAND}"
        return ""

    def plan(self) -> Mapping[str, str]:
        return {"version": fresh_version(self._versions())}

    def make(self, plan: Mapping[str, str]) -> str:
        version = plan["version"]
        keyfile.add_version(self._file(), version)
        if self._versions()[-1] != version:
            raise KekUnavailable("Another version of the key-encryption key was made current meanwhile.")
        return version

    def others(self) -> tuple[str, ...]:
        return self._versions()[:-1] if self._path is not None and not registry.is_elsewhere() else ()

    def archive(self, version: str, path: Path) -> None:
        line = keyfile.line_of(keyfile.read(self._file(), strict_mode=settings.IS_PRODUCTION), version)
        keyfile.write_line(path, line)

    def retire(self, version: str) -> None:
        keyfile.remove_version(self._file(), version)

    def by_hand(self, version: str) -> str:
        if settings.KEK_PROVIDER != "local":
            return (
                f"Nothing is sealed under {version}, and fresh secrets are sealed elsewhere. When that is so of every "
                "version in the key file, take the file away from the servers, and its name out of their settings."
            )
        if registry.is_elsewhere():
            return (
                "Nothing is sealed under it. On the isolated signer's machine run: manage.py generate_kek "
                f"--remove-version {version} --path FILE"
            )
        if self._path is None:
            return f"Nothing is sealed under it. Take {version} out of KEYCAST_KEK, and restart every process."
        if not self._is_writable():
            return f"Nothing is sealed under it. Take the line {version} out of {self._path}."
        return ""

    def is_settled(self) -> bool:
        return time.time() - self._file().stat().st_mtime >= FRESH_SECONDS

    def _is_writable(self) -> bool:
        path = self._path
        return path is not None and os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)

    def _file(self) -> Path:
        if self._path is None or registry.is_elsewhere():
            raise KekUnavailable(self.problem())
        return self._path

    def _versions(self) -> tuple[str, ...]:
        return tuple(keyfile.parse(keyfile.read(self._file(), strict_mode=settings.IS_PRODUCTION)))


def fresh_version(known: tuple[str, ...] = ()) -> str:
    """Today's date, with a number if need be; outside production it says so, and production refuses those."""
    today = timezone.now().strftime("%Y-%m-%d")
    name = today if settings.IS_PRODUCTION else f"development-{today}"
    number, version = 1, name
    while version in known:
        number += 1
        version = f"{name}.{number}"
    return version
