"""Write a fresh local key-encryption key to a file that only its owner can read, or a new version into that file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.base.errors import KeycastError
from keys.signing.kms import keyfile
from keys.signing.kms.file_versions import fresh_version


class Command(BaseCommand):
    """Touches no database, so it also runs on the machine of an isolated signer, or for the co-signer's file."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []  # its absence is what the checks complain of

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--path", type=Path, default=settings.DATA_DIR / "kek", help="Default: the data folder.")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--if-missing", action="store_true", help="Leave a file that is there as it is.")
        how.add_argument(
            "--new-version",
            action="store_true",
            help="Add a new version to a file that is there; it is used at once. Then run: manage.py rewrap_keys --all",
        )
        how.add_argument(
            "--remove-version", metavar="VERSION", help="Take an old version out, after manage.py retire_kek said so."
        )
        how.add_argument("--print", action="store_true", help="Print a fresh line, for who keeps it elsewhere.")

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        if options["print"]:
            self.stdout.write(keyfile.fresh_line(fresh_version()).decode().strip())
        elif options["new_version"]:
            self._add(path)
        elif options["remove_version"]:
            self._remove(path, options["remove_version"])
        else:
            self._write(path, if_missing=options["if_missing"])

    def _write(self, path: Path, *, if_missing: bool) -> None:
        try:
            keyfile.write_new(path, fresh_version())
        except FileExistsError:
            if not if_missing:
                raise CommandError(f"{path} exists. A key-encryption key is never overwritten.") from None
            return
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"Wrote {path}. Back it up apart from the database: without it no key can be opened.")

    def _add(self, path: Path) -> None:
        try:
            version = fresh_version(tuple(keyfile.parse(keyfile.read(path, strict_mode=settings.IS_PRODUCTION))))
            keyfile.add_version(path, version)
        except KeycastError as refused:
            raise CommandError(refused.public_message) from None
        self.stdout.write(
            f"Added {version} to {path}; what is sealed from now on is sealed under it. Back the file up, then run: "
            "manage.py rewrap_keys --all"
        )

    def _remove(self, path: Path, version: str) -> None:
        try:
            if version not in keyfile.parse(keyfile.read(path, strict_mode=settings.IS_PRODUCTION)):
                raise CommandError(f"{path} has no version {version}.")
            keyfile.remove_version(path, version)
        except KeycastError as refused:
            raise CommandError(refused.public_message) from None
        self.stdout.write(f"Took {version} out of {path}.")
