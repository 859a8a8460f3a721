"""``manage.py import_keys``: many secret keys from JSON lines, resumable, without ever repeating one."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import KeyMode, Tenant, User
from accounts.services import add_member, create_user
from keycast.base.errors import Unavailable
from keys.importing.batch import ACTOR, BatchImporter, ImportOutcome, LineResult
from keys.importing.lines import MAX_LINE
from keys.importing.progress import ImportProgress
from keys.importing.state import ImportFileMismatch, ImportState
from keys.management.commands.create_key import tenant_named

EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 3
Lines = list[tuple[int, bytes]]


class Command(BaseCommand):
    """Reads ``{"email": ..., "name": ..., "secret": ..., "password": ...}`` a line (password only for ncryptsec).

    Keys that the same person has here already count as present, so the command may be run again after any
    interruption; ``--state`` makes that quick. Exit codes: 0 every line is in, 1 wrong usage, 2 some lines were
    refused (each on stderr by its number), 3 stopped because something is down (run it again).
    """

    help = "Import secret keys from JSON lines: email, name, secret (nsec, hex or ncryptsec), password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a file, or - for standard input")
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--mode", choices=KeyMode.values, help="default: what the tenant offers first")
        parser.add_argument("--create-users", action="store_true", help="make a member of who is not known yet")
        parser.add_argument("--batch", type=int, default=500, metavar="N", help="keys in one transaction")
        parser.add_argument("--state", type=Path, metavar="FILE", help="where to remember how far it came")
        parser.add_argument("--json", action="store_true", help="print a report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["batch"] <= 10_000:
            raise CommandError("--batch is a number from 1 to 10000.")
        started, refused = time.monotonic(), []
        state = _state(options["state"])
        tenant = tenant_named(options["tenant"])
        importer = BatchImporter(tenant, options["mode"], _maker(tenant, options))
        with _opened(options["file"]) as source:
            progress = ImportProgress(sys.stderr, _size(source))
            try:
                for result in _imported(source, importer, state, progress, options):
                    if result.outcome is ImportOutcome.REFUSED:
                        refused.append(result)
                        self.stderr.write(f"line {result.number}: {result.message}")
            except ImportFileMismatch:
                raise CommandError("The state file belongs to another input. Remove it to begin anew.") from None
            except Unavailable as error:
                raise CommandError(f"{error.public_message} Run it again.", returncode=EXIT_INTERRUPTED) from None
            finally:
                progress.finish()
        self._report(state, refused, time.monotonic() - started, as_json=options["json"])

    def _report(self, state: ImportState, refused: list[LineResult], seconds: float, *, as_json: bool) -> None:
        counts = {str(outcome): state.counts[outcome] for outcome in ImportOutcome}
        if as_json:
            errors = [{"line": item.number, "code": item.code, "message": item.message} for item in refused]
            report = {"lines": state.lines, **counts, "seconds": round(seconds, 3), "errors": errors}
            self.stdout.write(json.dumps(report))
        else:
            self.stdout.write(", ".join(f"{count} {name}" for name, count in counts.items()))
        if counts[ImportOutcome.REFUSED]:
            sys.exit(EXIT_REFUSED)


def _imported(
    source: BinaryIO, importer: BatchImporter, state: ImportState, progress: ImportProgress, options: dict[str, Any]
) -> Iterator[LineResult]:
    for batch in _batches(_lines(source, state, progress), options["batch"]):
        results = importer.run([(number, raw) for number, raw in batch if raw.strip()])
        state.counts.update(str(result.outcome) for result in results)
        state.done([raw for _, raw in batch])
        if options["state"] is not None:
            state.save(options["state"])
        progress.advance(len(results), sum(len(raw) for _, raw in batch))
        yield from results


def _lines(source: BinaryIO, state: ImportState, progress: ImportProgress) -> Iterator[tuple[int, bytes]]:
    number = 0
    # A line beyond the limit comes in pieces, each refused as too long or unreadable; none fills the memory.
    while raw := source.readline(MAX_LINE + 2):
        number += 1
        if state.passes_over(raw):
            progress.passed(len(raw))
        else:
            yield number, raw


def _batches(lines: Iterable[tuple[int, bytes]], size: int) -> Iterator[Lines]:
    batch: Lines = []
    for line in lines:
        batch.append(line)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _state(path: Path | None) -> ImportState:
    try:
        return ImportState() if path is None else ImportState.load(path)
    except ImportFileMismatch:
        raise CommandError("The state file cannot be read.") from None


def _maker(tenant: Tenant, options: dict[str, Any]) -> Callable[[str], User] | None:
    """Makes members of unknown addresses, if asked to. Who has an account elsewhere is never drawn in unasked."""

    @transaction.atomic
    def make(email: str) -> User:
        user = create_user(actor=ACTOR, email=email)
        add_member(actor=ACTOR, tenant=tenant, user=user)
        return user

    return make if options["create_users"] else None


def _opened(name: str) -> BinaryIO:
    try:
        return os.fdopen(os.dup(0), "rb") if name == "-" else Path(name).open("rb")
    except OSError as error:
        raise CommandError(f"The file cannot be read: {error.strerror}.") from None


def _size(source: BinaryIO) -> int | None:
    size = os.fstat(source.fileno()).st_size
    return size or None
