"""Write a fresh key for signing checkpoints of the audit log to a file that only its owner can read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.audit.signing import PREFIX, SEED_SIZE, LocalStatementSigner


class Command(BaseCommand):
    """It has nothing to do with the keys that seal secrets: whoever has it can sign statements about the log."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        default = settings.DATA_DIR / "checkpoint-key"
        parser.add_argument("--path", type=Path, default=default, help="Default: the data folder.")
        parser.add_argument("--if-missing", action="store_true", help="Leave a file that is there as it is.")

    def handle(self, *args: Any, path: Path, if_missing: bool, **options: Any) -> None:
        text = PREFIX + base64.b64encode(secrets.token_bytes(SEED_SIZE)).decode()
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if not if_missing:
                raise CommandError(f"{path} exists. A key is never overwritten.") from None
            return
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        public_key = base64.b64encode(LocalStatementSigner.from_text(text).public_key).decode()
        self.stdout.write(f"Wrote {path}; use it by KEYCAST_AUDIT_CHECKPOINT_KEY_FILE. Its public key:\n{public_key}")
