"""``manage.py retire_kek``: see docs/key-rotation.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.rotation import retiring, sealed_columns
from keys.rotation.base_command import REFUSED


class Command(BaseCommand):
    """Exit code 0: retired, or listed. 2: refused, nothing was changed."""

    help = (
        "Retire an old key-encryption key that nothing is sealed under any more. Without VERSION: list what is in use."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", metavar="VERSION", help="as rotate_kek and this list name it")
        parser.add_argument(
            "--archive", type=Path, metavar="FILE", help="keep the local key in this new file, for old backups"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say whether it could be retired, and change nothing"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["version"] is None:
            self._list(as_json=options["json"])
            return
        try:
            done = retiring.retire_kek(
                actor=Actor.command("retire_kek"),
                version=options["version"],
                archive=options["archive"],
                dry_run=options["dry_run"],
            )
        except KeycastError as refused:
            if options["json"]:
                self.stdout.write(json.dumps({"error": refused.code, "message": refused.public_message}))
                raise SystemExit(REFUSED) from None
            raise CommandError(f"{refused.public_message} ({refused.code})", returncode=REFUSED) from None
        if options["json"]:
            self.stdout.write(json.dumps(done.as_dict()))
            return
        self.stdout.write(f"{done.version} {'could be' if done.is_dry_run else 'is'} retired.")
        self.stdout.write(f"WARNING: {done.warning}")

    def _list(self, *, as_json: bool) -> None:
        # A KEK version is in use as long as any tenant's secret is sealed under it.
        with scopes_disabled():
            found = sealed_columns.references()
        if as_json:
            self.stdout.write(json.dumps(found))
            return
        for version, shelves in sorted(found.items()):
            counts = ", ".join(f"{count} {what}" for what, count in sorted(shelves.items()))
            self.stdout.write(f"{version}: {counts}")
