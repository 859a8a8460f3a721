"""``manage.py rotations``: what is rotating and what has, and ending one that should not go on."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.models import Rotation
from keys.rotation import selectors, services
from keys.rotation.base_command import REFUSED


class Command(BaseCommand):
    """Exit code 0, or 2 when there is no such rotation to cancel."""

    help = "List rotations, newest first, with their progress; or cancel one: what it has done stays done."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cancel", type=UUID, metavar="ID", help="end this one where it is")
        parser.add_argument("--last", type=int, default=20, metavar="N", help="how many to list (default: 20)")
        parser.add_argument("--json", action="store_true", help="print one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            found = [self._cancelled(options["cancel"])]
        else:
            found = list(selectors.rotations()[: options["last"]])
        for rotation in found:
            self.stdout.write(json.dumps(services.as_dict(rotation)) if options["json"] else _line(rotation))

    def _cancelled(self, rotation_id: UUID) -> Rotation:
        try:
            return services.cancel(actor=Actor.command("rotations"), rotation=selectors.rotation_of(rotation_id))
        except KeycastError as refused:
            raise CommandError(refused.public_message, returncode=REFUSED) from None


def _line(rotation: Rotation) -> str:
    kind = f"{rotation.kind} (dry run)" if rotation.is_dry_run else rotation.kind
    found = services.progress(rotation)
    waits = f", waits: {rotation.problem}" if rotation.problem else ""
    return (
        f"{rotation.id} {kind} {rotation.scope}: {rotation.get_state_display()}, {found.done} of {found.total} done, "
        f"{found.failed} failed{waits}"
    )
