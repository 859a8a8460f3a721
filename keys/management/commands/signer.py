"""Run the signer: the one process that has key-encryption keys and opened keys, behind a Unix socket."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from keycast.base import hsm_keeping
from keycast.base.child_processes import end_with_parent
from keys.errors import KekUnavailable
from keys.signing.isolated.process import CosignerKekGivenError, run
from keys.signing.isolated.server import SocketRefused


class Command(BaseCommand):
    """Exit code 0: ended when asked to. 1: it could not start."""

    help = __doc__ or ""
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self._is_quiet = options["verbosity"] == 0
        if not settings.SIGNER_SOCKET:
            raise CommandError("Set KEYCAST_SIGNER_SOCKET, for the signer and for every process that asks it.")
        end_with_parent()
        hsm_keeping.give_up()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(Path(settings.SIGNER_SOCKET)))
        except (KekUnavailable, SocketRefused, CosignerKekGivenError) as error:
            raise CommandError(str(error)) from None

    async def _serve(self, path: Path) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(path, stop, lambda where: self._say(f"The signer (process {os.getpid()}) listens on {where}"))

    def _say(self, text: str) -> None:
        if self._is_quiet:
            return
        self.stdout.write(text)
        self.stdout.flush()
