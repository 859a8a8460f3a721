"""``manage.py kms_emulator``: a Cloud KMS on this machine, for the demo and for trying things out."""

from __future__ import annotations

import os
import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from keycast.base.child_processes import end_with_parent
from keycast.emulators.kms.faults import KmsFault, KmsFaultKind
from keycast.emulators.kms.server import KmsEmulator


class Command(BaseCommand):
    help = "Run an emulator of Google Cloud KMS. It protects nothing: its keys lie in memory, or in clear in --file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=9010, help="0 takes any free port")
        parser.add_argument("--socket", type=Path, help="listen on this Unix socket instead, made for its owner alone")
        parser.add_argument("--file", type=Path, help="keep keys in this file")
        parser.add_argument("--key-ring", action="append", default=[], help="a key ring that exists; without: any")
        parser.add_argument("--disabling", type=float, default=0.0, metavar="SECONDS", help="time to disable a key")
        parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="delay of each answer")
        parser.add_argument("--pending", type=float, default=0.0, metavar="SECONDS", help="time to generate a key")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("The emulator protects nothing and does not run in production.")
        end_with_parent()
        os.umask(0o077)
        place = {"host": options["host"], "port": options["port"], "socket": options["socket"]}
        emulator = KmsEmulator(**place, path=options["file"], key_rings=options["key_ring"])
        emulator.apply({"pending_seconds": options["pending"], "disabling_seconds": options["disabling"]})
        if options["latency"]:
            emulator.faults.set([KmsFault(KmsFaultKind.LATENCY, seconds=options["latency"])])
        try:
            emulator.start()
        except (OSError, RuntimeError):
            raise CommandError(f"Cannot listen on {emulator.address}.") from None
        signal.signal(signal.SIGTERM, lambda *_: emulator.stop())
        if options["verbosity"]:
            self.stdout.write(f"Cloud KMS emulator on {emulator.address} (emulated: protects nothing)")
            self.stdout.flush()
        try:
            emulator.wait()
        except KeyboardInterrupt:
            emulator.stop()
