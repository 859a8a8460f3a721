"""Remove audit rows that are older than their retention, and leave a signed statement in their place."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from keycast.audit import cutting, signing
from keycast.audit.entries import Actor
from keycast.audit.models import AuditChain
from keycast.base.errors import KeycastError

ACTOR = Actor.command("cut_audit")


class Command(BaseCommand):
    """Exit code 0: done, or nothing to do. 1: it failed. 2: asked wrongly, or refused. Safe to repeat after a kill."""

    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--chain", metavar="NAME", help="one chain: a tenant id in hex, or platform")
        which.add_argument("--all", action="store_true", help="every chain")
        parser.add_argument("--set-days", type=int, metavar="N", help="from now on keep that chain's rows for N days")
        parser.add_argument("--reason", default="retention", help="kept in the signed statement and in the log")
        parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object a chain instead of sentences")

    def handle(self, *args: Any, **options: Any) -> None:
        names = [options["chain"]] if options["chain"] else list(AuditChain.objects.values_list("name", flat=True))
        try:
            if options["set_days"] is not None:
                self._set_days(options["chain"], options["set_days"])
                return
            for name in names:
                self._cut(name, options)
        except KeycastError as refusal:
            raise CommandError(refusal.public_message, returncode=2) from None
        except OSError as error:
            raise CommandError(f"KEYCAST_AUDIT_CHECKPOINT_FILE takes nothing: {error.strerror}.") from None
        except DatabaseError as error:
            hint = "Run it as the role that owns the tables (docs/audit.md)."
            raise CommandError(f"The database refused ({type(error).__name__}). {hint}") from None

    def _set_days(self, chain: str | None, days: int) -> None:
        if not chain:
            raise CommandError("--set-days needs --chain; for all it is a setting.", returncode=2)
        cutting.set_retention_days(actor=ACTOR, chain=chain, days=days)
        self.stdout.write(f"{chain}: rows are kept for {days} days.")

    def _cut(self, name: str, options: dict[str, Any]) -> None:
        left = 0 if options["dry_run"] else cutting.finish(name)
        wanted = cutting.plan(name)
        if wanted is not None and not options["dry_run"]:
            cutting.cut(actor=ACTOR, wanted=wanted, reason=options["reason"], signer=signing.current())
        self._tell(name, wanted, left, options)

    def _tell(self, name: str, wanted: cutting.CutPlan | None, left: int, options: dict[str, Any]) -> None:
        span = [wanted.first, wanted.through] if wanted else None
        if options["json"]:
            said = {"chain": name, "rows": span, "dry_run": options["dry_run"], "left_from_before": left}
            self.stdout.write(json.dumps(said))
            return
        more = f" ({left} rows were left from an earlier cut)" if left else ""
        if span is None:
            self.stdout.write(f"{name}: nothing to remove.{more}")
            return
        outcome = "would be removed" if options["dry_run"] else "removed"
        self.stdout.write(f"{name}: rows {span[0]} to {span[1]} {outcome}.{more}")
