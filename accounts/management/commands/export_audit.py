"""Write rows of the audit log as JSON lines, with proofs that anybody can check offline."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Tenant
from keycast.audit import checkpoints, exporting, signing
from keycast.audit.browser_exports import note
from keycast.audit.entries import Actor
from keycast.audit.selectors import AuditFilters
from keycast.audit.services import PLATFORM, chain_of
from keycast.base.errors import KeycastError

ACTOR = Actor.command("export_audit")


class Command(BaseCommand):
    """Exit code 0: written. 1: it could not be. 2: asked wrongly. ``verify_audit --export FILE`` checks it."""

    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--tenant", metavar="SLUG", help="this tenant's chain")
        which.add_argument("--platform", action="store_true", help="the platform's own chain")
        which.add_argument("--chain", metavar="NAME", help="the chain of that name")
        for name in ("since", "until"):
            parser.add_argument(
                f"--{name}", metavar="TIME", type=_moment, help="2026-11-23 or 2026-11-23T12:00, in UTC"
            )
        for name in ("key-id", "connection-id", "actor-id"):
            parser.add_argument(f"--{name}", default="", metavar="HEX", help="only rows of this one")
        parser.add_argument("--tag", action="append", default=[], help="only rows of this tag; may be repeated")
        parser.add_argument("--outcome", action="append", default=[], help="only rows of this outcome; may be repeated")
        parser.add_argument("--output", metavar="FILE", help="a new file instead of standard output")
        parser.add_argument("--reason", default="", help="kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        chain, filters = _chain(options), _filters(options)
        try:
            checkpoints.make_all(chain, signing.current())
            within = exporting.range_of(chain, filters)
            with transaction.atomic():
                note(actor=ACTOR, chain=chain, filters=filters, within=within, reason=options["reason"])
        except KeycastError as error:
            raise CommandError(error.public_message) from None
        count = self._write(exporting.lines(chain, filters, within), options["output"])
        if options["output"]:
            self.stdout.write(f"Wrote {count} lines to {options['output']}.")

    def _write(self, lines: Iterator[str], path: str | None) -> int:
        if path is None:
            return sum(1 for line in lines if self.stdout.write(line, ending="") is None)
        try:
            handle = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                count = sum(1 for line in lines if file.write(line))
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise CommandError(f"{path} exists.", returncode=2) from None
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        return count


def _moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _chain(options: dict[str, Any]) -> str:
    if options["platform"]:
        return PLATFORM
    if options["chain"]:
        return str(options["chain"])
    tenant = Tenant.objects.filter(slug=options["tenant"]).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {options['tenant']!r}.", returncode=2)
    return chain_of(tenant.id)


def _filters(options: dict[str, Any]) -> AuditFilters:
    return AuditFilters(
        tags=tuple(options["tag"]),
        outcomes=tuple(options["outcome"]),
        actor_id=options["actor_id"],
        key_id=options["key_id"],
        connection_id=options["connection_id"],
        since=options["since"],
        until=options["until"],
    )
