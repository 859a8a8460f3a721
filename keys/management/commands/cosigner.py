"""Run the co-signer (signer B of split keys), or verify its audit log."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.children import end_with_parent
from keys.cosigning import audit, store
from keys.cosigning.process import Foreign, run
from keys.errors import KekUnavailable


class Command(BaseCommand):
    """Exit code 0: ended when asked to, or the log is intact. 1: the log is not."""

    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--verify-audit", action="store_true", help="Check the hash chain of its log, and end.")

    def handle(self, *args: Any, verify_audit: bool, **options: Any) -> None:
        path = Path(settings.COSIGNER_DB)
        if verify_audit:
            self._verify(path)
            return
        end_with_parent()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(path))
        except store.StoreInUse:
            raise CommandError(f"Another co-signer serves {path}.") from None
        except (KekUnavailable, Foreign) as error:
            raise CommandError(str(error)) from None

    async def _serve(self, path: Path) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(path, stop, lambda where: self._say(f"The co-signer (process {os.getpid()}) listens on {where}"))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _verify(self, path: Path) -> None:
        if not path.is_file():
            raise CommandError(f"There is no co-signer database {path}.", returncode=2)
        with closing(store.read_only(path)) as connection:
            found = audit.verify(connection)
        self._say(f"{found.rows} rows: {'NOT intact. ' + found.fault if found.fault else 'intact.'}")
        if found.fault:
            raise SystemExit(1)
