"""``manage.py nethsm_emulator``: a NetHSM on this machine, for the demo and for trying things out."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from keycast.emulators.nethsm.faults import NetHsmFault, NetHsmFaultKind
from keycast.emulators.nethsm.server import NetHsmEmulator


class Command(BaseCommand):
    help = (
        "Run an emulator of a Nitrokey NetHSM. It protects nothing: its keys lie in memory and are gone when it ends. "
        "Its R-Administrator is KEYCAST_NETHSM_ADMIN_USER with KEYCAST_NETHSM_ADMIN_PASSWORD."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8443, help="0 takes any free port")
        parser.add_argument("--folder", type=Path, help="where its certificate goes (default: the data folder)")
        parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="delay of each answer")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("The emulator protects nothing and does not run in production.")
        emulator = NetHsmEmulator(
            options["folder"] or Path(settings.DATA_DIR),
            admin=settings.NETHSM_ADMIN_USER or "admin",
            passphrase=settings.NETHSM_ADMIN_PASSWORD or "emulator-admin",
            host=options["host"],
            port=options["port"],
        )
        if options["latency"]:
            emulator.app.faults.set(NetHsmFault(NetHsmFaultKind.LATENCY, seconds=options["latency"]))
        try:
            emulator.start()
        except OSError:
            raise CommandError(f"Cannot listen on {options['host']}:{options['port']}.") from None
        signal.signal(signal.SIGTERM, lambda *_: emulator.stop())
        self.stdout.write(f"NetHSM emulator on {emulator.url} (emulated: protects nothing)")
        self.stdout.write(f"Its certificate is in {emulator.ca_file}")
        self.stdout.flush()
        try:
            emulator.wait()
        except KeyboardInterrupt:
            emulator.stop()
