"""Show that a backup can be restored: dump, restore elsewhere, verify, open every key, compare."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from argparse import SUPPRESS
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.audit.restore_journal import RestoreJournal
from keycast.base.child_processes import manage_command
from keycast.operations.backup import cosigner, dumps, rehearsal
from keys.split import fitting

SOUND, PROBLEMS, CANNOT = 0, 1, 2


class Command(BaseCommand):
    """Exit code 0: the backup is sound. 1: it is not, and why. 2: the rehearsal could not be held."""

    help = (
        "Dump this database, restore it elsewhere, verify the audit log, open every key, compare public keys, and see "
        "that nothing that was ended comes back. Changes nothing here."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dump", metavar="FILE", help="check this dump instead of a fresh one")
        parser.add_argument("--into", metavar="URL", default="", help="an empty PostgreSQL database to restore into")
        parser.add_argument("--endings", metavar="FILE", help="the restore journal (default: KEYCAST_RESTORE_JOURNAL)")
        parser.add_argument(
            "--cosigner-dump", metavar="FILE", default="", help="check this copy of the co-signer's database"
        )
        parser.add_argument(
            "--cosigner",
            metavar="FILE",
            default="",
            help="the outcome of manage.py cosigner rehearse --json, held on the co-signer's machine",
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
        parser.add_argument("--inspect", action="store_true", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["inspect"]:
            self.stdout.write(json.dumps(asdict(rehearsal.inspect())))
            return
        with tempfile.TemporaryDirectory(prefix="keycast-restore-") as folder:
            try:
                outcome = self._rehearse(Path(folder), options)
            except dumps.CannotRestore as error:
                raise CommandError(str(error), returncode=CANNOT) from None
        self._tell(outcome, is_json=options["json"])
        if outcome["problems"]:
            raise SystemExit(PROBLEMS)

    def _rehearse(self, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
        started = time.monotonic()
        dump = Path(options["dump"]) if options["dump"] else dumps.dump(folder)
        if not dump.is_file():
            raise dumps.CannotRestore(f"There is no file {dump}.")
        entries = _copy_of_journal(options["endings"] or settings.RESTORE_JOURNAL, folder)
        journal = list(RestoreJournal(entries).read()) if entries else []  # before the rehearsal adds to it
        with dumps.restored(dump, folder, options["into"]) as url:
            found = _inspected(url, entries)
        problems = [*found["problems"], *rehearsal.compare(found)]
        theirs = cosigner.rehearsed(options["cosigner"], options["cosigner_dump"])
        fits = None if theirs is None else fitting.fit(found["split_keys"], theirs, journal)
        if theirs is not None and fits is not None:
            problems += [*theirs["problems"], *fits.problems]
        return {
            "sound": not problems,
            "dump_bytes": dump.stat().st_size,
            "seconds": round(time.monotonic() - started, 1),
            "audit_rows": found["rows"],
            "audit_chains": len(found["heads"]),
            "keys": len(found["keys"]),
            "keys_opened": found["opened"],
            "brought_up_to_date": found["done"],
            "lost_keys": found["lost_keys"],
            "split_keys": len(found["split_keys"]),
            "split_keys_fitting": None if fits is None else fits.fitting,
            "notes": [] if fits is None else fits.notes,
            "problems": problems,
        }

    def _tell(self, outcome: dict[str, Any], *, is_json: bool) -> None:
        if is_json:
            self.stdout.write(json.dumps(outcome))
            return
        self.stdout.write(
            f"{outcome['audit_chains']} chains with {outcome['audit_rows']} rows verified, {outcome['keys_opened']} of "
            f"{outcome['keys']} keys opened, {outcome['dump_bytes']} bytes, {outcome['seconds']} s."
        )
        for thing, count in sorted(outcome["brought_up_to_date"].items()):
            self.stdout.write(f"after_restore: {thing}: {count}")
        for key, public_key in outcome["lost_keys"].items():
            self.stdout.write(f"after_restore: key {key} ({public_key}) was made after this dump and would be lost.")
        self._tell_split(outcome)
        for problem in outcome["problems"]:
            self.stderr.write(f"PROBLEM: {problem}")
        self.stdout.write("This backup is sound." if outcome["sound"] else "This backup is NOT sound.")

    def _tell_split(self, outcome: dict[str, Any]) -> None:
        fitting, split = outcome["split_keys_fitting"], outcome["split_keys"]
        if fitting is not None:
            self.stdout.write(f"Both sides of {fitting} of {split} split keys fit.")
        elif split:
            self.stdout.write(
                f"{split} split keys: NOT shown to be usable. The co-signer's backup was not looked at; run manage.py "
                "cosigner rehearse --json on its machine, and give this command its outcome with --cosigner."
            )
        for note in outcome["notes"]:
            self.stdout.write(f"Note: {note}")


def _copy_of_journal(path: str, folder: Path) -> str:
    """A copy, for the rehearsal writes to it; empty when there is none."""
    if not path or not Path(path).is_file():
        return ""
    copy = folder / "endings.jsonl"
    shutil.copyfile(path, copy)
    return str(copy)


def _inspected(url: str, entries: str) -> dict[str, Any]:
    """What a process of its own finds in the restored database. Raises CannotRestore."""
    # One process without Redis: what the rehearsal does must not be told to the workers that serve.
    alone = {"REDIS_URL": "", "REDIS_URL_FILE": "", "KEYCAST_EMBEDDED": "1"}
    environment = {**os.environ, **alone, "DATABASE_URL": url, "KEYCAST_RESTORE_JOURNAL": entries}
    environment.pop("DATABASE_URL_FILE", None)
    done = subprocess.run(  # noqa: S603 -- ourselves
        manage_command("restore_check", "--inspect"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.BASE_DIR,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise dumps.CannotRestore(f"The restored database cannot be read: {lines[-1][:300]}") from None
    return found
