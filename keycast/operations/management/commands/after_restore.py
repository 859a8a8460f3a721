"""Bring a restored database up to date before it serves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Max

from keycast.audit import journal_writer
from keycast.audit.models import AuditRow
from keycast.audit.restore_journal import JournalEntry, RestoreJournal, missing_after_restore
from keycast.operations.backup.reconcile import ReconcileReport, preview, reconcile

DONE, PROBLEMS, USAGE = 0, 1, 2
FRESH_SECONDS: Final = 300
"""Requests are taken that long after they were made (bunker.relays.event_checks): older ones cannot be replayed."""


class Command(BaseCommand):
    """Exit code 0: done. 1: some things could not be done, named; run it again. 2: asked wrongly."""

    help = (
        "After a backup was restored: destroy again what was destroyed since, end what was ended, withdraw one-time "
        "secrets and sessions. Stop every server process first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--endings",
            metavar="FILE",
            action="append",
            help="a restore journal (KEYCAST_RESTORE_JOURNAL of any machine; may be given several times)",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
        parser.add_argument(
            "--no-wait", action="store_true", help="do not wait until requests of the time before cannot be replayed"
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        paths = options["endings"] or ([settings.RESTORE_JOURNAL] if settings.RESTORE_JOURNAL else [])
        if not paths:
            raise CommandError(
                "Name the restore journal: --endings FILE (or KEYCAST_RESTORE_JOURNAL).", returncode=USAGE
            )
        entries = _read(paths)
        newest = _newest(entries)
        outcomes = preview(entries) if options["dry_run"] else reconcile(entries)
        self._tell(outcomes, is_json=options["json"], is_dry=options["dry_run"])
        if outcomes.problems:
            raise SystemExit(PROBLEMS)
        if not options["dry_run"]:
            _carry_on(paths)
            self._wait(newest, options["no_wait"])

    def _tell(self, outcomes: ReconcileReport, *, is_json: bool, is_dry: bool) -> None:
        if is_json:
            self.stdout.write(json.dumps({"dry_run": is_dry, **outcomes.as_dict()}))
            return
        for thing, count in sorted(outcomes.done.items()):
            self.stdout.write(f"{thing}: {count}{' (not done: dry run)' if is_dry else ''}")
        for key, public_key in outcomes.lost_keys.items():
            self.stdout.write(f"LOST: key {key}, public key {public_key or 'unknown'}: made after this backup.")
        for problem in outcomes.problems:
            self.stderr.write(f"PROBLEM: {problem}")

    def _wait(self, newest: float, no_wait: bool) -> None:
        left = newest + FRESH_SECONDS - time.time()
        if left > 0 and not no_wait:
            self.stderr.write(f"Waiting {left:.0f} s, so that no request of the time before can be replayed.")
            time.sleep(left)


def _read(paths: list[str]) -> list[JournalEntry]:
    """All files together, what the database knows left out, in the order of time. Raises CommandError."""
    entries: dict[tuple[str, int, str], JournalEntry] = {}
    for path in paths:
        if not Path(path).is_file():
            raise CommandError(f"There is no file {path}.", returncode=USAGE)
        for entry in missing_after_restore(RestoreJournal(path).read()):
            entries[entry.chain, entry.sequence, entry.hash] = entry
    return sorted(entries.values(), key=lambda entry: (entry.at, entry.chain, entry.sequence))


def _newest(entries: list[JournalEntry]) -> float:
    """When this deployment last did something that we know of, in Unix seconds."""
    in_log = AuditRow.objects.aggregate(newest=Max("id"))["newest"]
    row = AuditRow.objects.filter(id=in_log).only("at").first()
    return max([row.at if row else 0, *(entry.at for entry in entries)]) / 1e6


def _carry_on(paths: list[str]) -> None:
    """Have every file know of the restore, also those of other machines that were named."""
    for path in {*paths, settings.RESTORE_JOURNAL} - {""}:
        journal_writer.catch_up(RestoreJournal(path))
