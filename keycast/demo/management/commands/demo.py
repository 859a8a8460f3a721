"""``make demo``: Keycast from nothing to a signed note, in one folder and one process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from keycast.base.child_processes import end_with_parent
from keycast.demo.environment import DemoEnvironment
from keycast.demo.processes import DemoFailed
from keycast.demo.screen import Screen
from keycast.demo.totp import current_code
from keycast.demo.walkthrough import run


class Command(BaseCommand):
    """Keeps its data in ``var/``, so that a second start goes on where the first one ended."""

    help = "Set up a demo tenant, serve it, and have a note signed through a bunker URL. Ctrl-C ends it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when the note is signed")
        parser.add_argument("--code", action="store_true", help="print the code that signs in to the admin, and end")
        parser.add_argument("--port", type=int, default=8000, help="wanted port; the next free one is taken")
        parser.add_argument("--folder", type=Path, default=settings.BASE_DIR / "var", help="where the data is kept")

    def handle(self, *args: Any, once: bool, code: bool, port: int, folder: Path, **options: Any) -> None:
        if code:
            self._show_code(folder.resolve())
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        end_with_parent()
        os.umask(0o077)
        screen = Screen(OutputWrapper(sys.stdout, ending=""))
        try:
            result = run(screen, folder=folder.resolve(), port=port, once=once)
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            screen.plain("\nStopped. The data is kept; another start goes on with it.")
        else:
            sys.exit(result)

    def _show_code(self, folder: Path) -> None:
        secret = DemoEnvironment.kept(folder).get("KEYCAST_DEMO_OPERATOR_TOTP")
        if not secret:
            raise CommandError(f"There is no demo in {folder} yet. Start one with: make demo")
        code, seconds = current_code(secret)
        self.stdout.write(f"{code}, for {seconds} s more")
