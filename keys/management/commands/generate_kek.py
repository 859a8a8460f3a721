"""Write a fresh local key-encryption key to a file that only its owner can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.kms import keyfile


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []  # its absence is what the checks complain of

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--path", type=Path, default=settings.DATA_DIR / "kek", help="Default: the data folder.")
        parser.add_argument("--if-missing", action="store_true", help="Leave a file that is there as it is.")

    def handle(self, *args: Any, path: Path, if_missing: bool, **options: Any) -> None:
        try:
            keyfile.write_new(path, version())
        except FileExistsError:
            if not if_missing:
                raise CommandError(f"{path} exists. A key-encryption key is never overwritten.") from None
            return
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"Wrote {path}. Back it up apart from the database: without it no key can be opened.")


def version() -> str:
    """Today's date; outside production it says so, and production refuses keys sealed under it (keycast.E007)."""
    today = timezone.now().strftime("%Y-%m-%d")
    return today if settings.IS_PRODUCTION else f"development-{today}"
