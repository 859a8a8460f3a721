"""Make checkpoints of the audit log now, and carry them out of the database; or print the public key."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.audit import checkpoints, publishing, signing
from keycast.audit.errors import ChainBroken
from keycast.audit.models import AuditChain
from keycast.base.errors import KeycastError


class Command(BaseCommand):
    """Exit code 0: done. 1: a chain is broken, or a checkpoint could not be signed or written. 2: there is no key."""

    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--public-key", action="store_true", help="print the public key in base64 and do nothing")
        parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        signer = signing.current()
        if signer is None:
            raise CommandError("No checkpoint key is set (KEYCAST_AUDIT_CHECKPOINT_KEY).", returncode=2)
        if options["public_key"]:
            self.stdout.write(base64.b64encode(signer.public_key).decode())
            return
        try:
            made, broken = self._make(signer)
            written = publishing.publish()
        except KeycastError as error:
            raise CommandError(error.public_message) from None
        except OSError as error:
            raise CommandError(f"KEYCAST_AUDIT_CHECKPOINT_FILE takes nothing: {error.strerror}.") from None
        if options["json"]:
            faults = [{"chain": fault.chain, "sequence": fault.sequence} for fault in broken]
            self.stdout.write(json.dumps({"made": made, "written": written, "broken": faults}))
        else:
            self.stdout.write(f"{made} checkpoints made, {written} written outside the database.")
        for fault in broken:
            self.stderr.write(fault.public_message)
        if broken:
            raise SystemExit(1)

    def _make(self, signer: signing.StatementSigner) -> tuple[int, list[ChainBroken]]:
        made, broken = 0, []
        for name in AuditChain.objects.values_list("name", flat=True):
            try:
                while checkpoints.make(name, signer) is not None:
                    made += 1
            except ChainBroken as fault:
                broken.append(fault)
        return made, broken
