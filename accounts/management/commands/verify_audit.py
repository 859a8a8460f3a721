"""Check that the audit log is as it was written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from accounts.models import Tenant
from keycast.audit import triggers
from keycast.audit.offline import report_on
from keycast.audit.published_statements import CheckpointFile, read
from keycast.audit.publishing import read_lines
from keycast.audit.services import PLATFORM, VerificationReport, chain_of, verify
from keycast.audit.signing import trusted
from keycast.audit.statements import Keyring, StatementError, parse_public_key
from keycast.audit.verification import ChainHead

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
        parser.add_argument(
            "--checkpoints",
            metavar="FILE",
            help="also compare with the checkpoints that were kept outside the database",
        )
        parser.add_argument("--export", metavar="FILE", help="check an export instead, without asking the database")
        parser.add_argument(
            "--key",
            metavar="KEY",
            action="append",
            default=[],
            help="believe this public key too: base64, or a PEM file",
        )
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = Keyring([*trusted(), *map(_public_key, options["key"])])
        if options["export"]:
            raise SystemExit(report_on(options["export"], keys, is_json=options["json"], out=self.stdout))
        outside = _outside(options["checkpoints"], keys)
        names = self._names(options["tenant"], options["chain"])
        report = verify(names.one, expected=names.expected, kept=_kept(options["against"]), outside=outside, keys=keys)
        unprotected = sorted(triggers.missing(connection))
        doubts = [asdict(doubt) for doubt in outside.doubts]
        if options["json"]:
            more = {"missing_triggers": unprotected, **({"doubts": doubts} if options["checkpoints"] else {})}
            self.stdout.write(json.dumps({**report.as_dict(), **more}))
        else:
            self._tell(report, outside)
        if unprotected:
            self.stderr.write(f"WARNING: the database does not protect the log: {', '.join(unprotected)} missing.")
        if not report.is_intact or doubts:
            raise SystemExit(BROKEN)

    def _names(self, slug: str | None, chain: str | None) -> ChainSelection:
        if chain:
            return ChainSelection(chain)
        if slug:
            tenant = Tenant.objects.filter(slug=slug).first()
            if tenant is None:
                raise CommandError(f"There is no tenant {slug!r}.", returncode=USAGE)
            return ChainSelection(chain_of(tenant.id))
        tenants = Tenant.objects.values_list("id", flat=True)
        return ChainSelection(None, (PLATFORM, *map(chain_of, tenants)))

    def _tell(self, report: VerificationReport, outside: CheckpointFile) -> None:
        for doubt in outside.doubts:
            self.stdout.write(
                f"DOUBTFUL line {doubt.line} of the checkpoints{doubt.chain and f', {doubt.chain}'}: {doubt.detail}"
            )
        for fault in report.faults:
            where = f"row {fault.sequence}" if fault.sequence is not None else "head"
            self.stdout.write(f"BROKEN {fault.chain} {where}: {fault.problem}. {fault.detail}")
        state = "intact" if report.is_intact else "NOT intact"
        signed = f", {report.checkpoints} checkpoints" if report.checkpoints else ""
        self.stdout.write(f"{report.chains} chains, {report.rows} rows{signed}: {state}.")


@dataclass(frozen=True, slots=True)
class ChainSelection:
    """Which chains to look at: one, or all and those that must be there."""

    one: str | None
    expected: tuple[str, ...] = ()


def _public_key(text: str) -> bytes:
    try:
        return parse_public_key(Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text)
    except (OSError, StatementError, UnicodeDecodeError):
        raise CommandError(f"{text} is no public key in base64, and no PEM file of one.", returncode=USAGE) from None


def _outside(path: str | None, keys: Keyring) -> CheckpointFile:
    """The checkpoints in a file. Raises CommandError."""
    if path is None:
        return CheckpointFile()
    if not keys:
        raise CommandError("Without a public key no checkpoint can be believed: give --key.", returncode=USAGE)
    try:
        return read(read_lines(Path(path)), keys)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.", returncode=USAGE) from None


def _kept(path: str | None) -> dict[str, ChainHead]:
    """The heads in an earlier report. Raises CommandError."""
    if path is None:
        return {}
    try:
        heads = json.loads(Path(path).read_text(encoding="utf-8"))["heads"]
        return {
            str(name): ChainHead(sequence=int(head["sequence"]), hash=str(head["hash"])) for name, head in heads.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(f"{path} holds no earlier report of verify_audit --json.", returncode=USAGE) from None
