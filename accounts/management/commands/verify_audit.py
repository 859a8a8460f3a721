"""Check that the audit log is as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from accounts.models import Tenant
from keycast.audit import triggers
from keycast.audit.services import PLATFORM, Report, chain_of, verify
from keycast.audit.verification import Head

INTACT, BROKEN, USAGE = 0, 1, 2


class Command(BaseCommand):
    """Exit code 0: every chain is whole. 1: one is not, and its first bad row is named. 2: asked wrongly."""

    help = "Verify the hash chains of the audit log, and name the first bad row of each that is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        only = parser.add_mutually_exclusive_group()
        only.add_argument("--tenant", metavar="SLUG", help="check this tenant's chain only")
        only.add_argument("--chain", metavar="NAME", help="check this chain only: a tenant id in hex, or platform")
        parser.add_argument(
            "--against", metavar="FILE", help="also compare with an earlier --json report that was kept elsewhere"
        )
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        report = self._verify(options["tenant"], options["chain"], _kept(options["against"]))
        unprotected = sorted(triggers.missing(connection))
        if options["json"]:
            self.stdout.write(json.dumps({**report.as_dict(), "missing_triggers": unprotected}))
        else:
            self._tell(report)
        if unprotected:
            self.stderr.write(f"WARNING: the database does not protect the log: {', '.join(unprotected)} missing.")
        if not report.is_intact:
            raise SystemExit(BROKEN)

    def _verify(self, slug: str | None, chain: str | None, kept: dict[str, Head]) -> Report:
        if chain:
            return verify(chain, kept=kept)
        if slug:
            tenant = Tenant.objects.filter(slug=slug).first()
            if tenant is None:
                raise CommandError(f"There is no tenant {slug!r}.", returncode=USAGE)
            return verify(chain_of(tenant.id), kept=kept)
        tenants = Tenant.objects.values_list("id", flat=True)
        return verify(expected=[PLATFORM, *map(chain_of, tenants)], kept=kept)

    def _tell(self, report: Report) -> None:
        for fault in report.faults:
            where = f"row {fault.sequence}" if fault.sequence is not None else "head"
            self.stdout.write(f"BROKEN {fault.chain} {where}: {fault.problem}. {fault.detail}")
        state = "intact" if report.is_intact else "NOT intact"
        self.stdout.write(f"{report.chains} chains, {report.rows} rows: {state}.")


def _kept(path: str | None) -> dict[str, Head]:
    """The heads in an earlier report. Raises CommandError."""
    if path is None:
        return {}
    try:
        heads = json.loads(Path(path).read_text(encoding="utf-8"))["heads"]
        return {str(name): Head(sequence=int(head["sequence"]), hash=str(head["hash"])) for name, head in heads.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(f"{path} holds no earlier report of verify_audit --json.", returncode=USAGE) from None
