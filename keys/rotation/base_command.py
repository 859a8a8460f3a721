"""The base of the commands that rotate: scope, dry run, progress, JSON, exit codes."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Tenant
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.errors import KeyNotFound
from keys.models import PersonalKey, Rotation, RotationState
from keys.rotation import runner, selectors, services
from keys.rotation.registry import kind_of
from keys.rotation.scope import RotationScope
from keys.selectors import key_by_public_key

DONE: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
INTERRUPTED: Final = 130
TURN_SECONDS: Final = 5.0
TELL_SECONDS: Final = 1.0
TROUBLES: Final = 30
"""So often in a row the database may fail before the command gives up; the rotation goes on all the same, later."""


class RotationCommand(BaseCommand):
    """Exit code 0: done. 1: it ended, but some items failed, or it was cancelled. 2: refused, nothing was begun.

    130: interrupted; it goes on by itself with the next background job, or with ``--resume``.
    """

    kind: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        scopes = kind_of(self.kind).scopes
        if "key" in scopes:
            which.add_argument("--key", metavar="ID", help="one key, by id, npub or hex public key")
        if "tenant" in scopes:
            which.add_argument("--tenant", metavar="SLUG", help="every key of this tenant")
        if "all" in scopes:
            which.add_argument("--all", action="store_true", help="every key of this deployment")
        parser.add_argument("--dry-run", action="store_true", help="count what would change, and change nothing")
        parser.add_argument("--resume", action="store_true", help="go on with one that was begun, failed or cancelled")
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")

    def options_of(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the kind gets, from the command line. Raises CommandError."""
        return {}

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            scope = _scope(options)
            rotation = self._begin(scope, options)
        except KeycastError as refused:
            self._refused(refused, as_json=options["json"])
        try:
            rotation = self._work(rotation, quiet=options["json"])
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. It goes on by itself with the next background job, or with --resume.")
            raise SystemExit(INTERRUPTED) from None
        self._tell(rotation, as_json=options["json"])
        if rotation.state != RotationState.DONE:
            raise SystemExit(FAILED)

    def _begin(self, scope: RotationScope, options: dict[str, Any]) -> Rotation:
        actor = Actor.command(self.__module__.rpartition(".")[2])
        if not options["resume"]:
            more = self.options_of(options)
            return services.start(
                actor=actor, kind=self.kind, scope=scope, dry_run=options["dry_run"], nudge=False, **more
            )
        found = selectors.latest(self.kind, scope.text)
        if found is None or found.state == RotationState.DONE:
            raise CommandError("There is no rotation here that could go on.", returncode=REFUSED)
        return found if found.state in services.UNFINISHED else services.resume(actor=actor, rotation=found)

    def _work(self, rotation: Rotation, *, quiet: bool) -> Rotation:
        told, troubles = _ProgressReporter(self, quiet=quiet), 0
        while rotation.state in services.UNFINISHED:
            try:
                rotation = runner.run_for(rotation.id, seconds=TURN_SECONDS, observe=told)
                troubles = 0
            except (OperationalError, InterfaceError) as error:  # restarted, or busy: what was not committed is undone
                troubles += 1
                if troubles > TROUBLES:
                    raise
                self.stderr.write(f"The database does not answer ({type(error).__name__}). Trying again.")
                connection.close()
            told(rotation)
            if rotation.state in services.UNFINISHED:
                time.sleep(_pause(rotation) if not troubles else 1.0)
        return rotation

    def _refused(self, refused: KeycastError, *, as_json: bool) -> None:
        if not as_json:
            raise CommandError(f"{refused.public_message} ({refused.code})", returncode=REFUSED) from None
        self.stdout.write(json.dumps({"error": refused.code, "message": refused.public_message}))
        raise SystemExit(REFUSED) from None

    def _tell(self, rotation: Rotation, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(services.as_dict(rotation)))
            return
        for failure in rotation.report.get("failures", ()):
            self.stderr.write(f"{failure['key']}: {failure['message']} ({failure['code']})")
        if "message" in rotation.report:
            self.stderr.write(f"{rotation.report['message']} ({rotation.report['error']})")
        for line in rotation.report.get("notes", ()):
            self.stdout.write(line)
        if rotation.is_dry_run:
            self.stdout.write(f"Dry run: {rotation.total} would change. Nothing was changed.")
            return
        state = RotationState(rotation.state).label
        seconds = services.seconds_of(rotation)
        self.stdout.write(f"{state}: {rotation.done} changed, {rotation.failed} failed, {seconds:.1f} s.")


class _ProgressReporter:
    """Says how far it is, about once a second, where a person looks on."""

    def __init__(self, command: BaseCommand, *, quiet: bool) -> None:
        self._command, self._quiet, self._at = command, quiet or not sys.stderr.isatty(), 0.0

    def __call__(self, rotation: Rotation) -> None:
        if self._quiet or time.monotonic() - self._at < TELL_SECONDS:
            return
        self._at = time.monotonic()
        found = services.progress(rotation)
        rate = f", {found.rate_per_second:.0f}/s" if found.rate_per_second else ""
        left = f", {found.seconds_left:.0f} s left" if found.seconds_left is not None else ""
        waits = f", waits: {rotation.problem}" if rotation.problem else ""
        self._command.stderr.write(f"{found.done + found.failed} of {found.total}{rate}{left}{waits}")


def _pause(rotation: Rotation) -> float:
    """How long until it is worth asking again: its own time, or a moment while somebody else works on it."""
    if rotation.not_before is None:
        return 0.2
    return min(max((rotation.not_before - timezone.now()).total_seconds(), 0.05), 5.0)


def _scope(options: dict[str, Any]) -> RotationScope:
    if options.get("key"):
        return RotationScope.of_key(_key(options["key"]))
    if options.get("tenant"):
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.", returncode=REFUSED)
        return RotationScope.of_tenant(tenant)
    return RotationScope.everything()


def _key(text: str) -> PersonalKey:
    try:
        key_id = UUID(text)
    except ValueError:
        return key_by_public_key(text)
    # An operator names a key by its id alone.
    with scopes_disabled():
        found: PersonalKey | None = PersonalKey.objects.filter(pk=key_id).first()
    if found is None:
        raise KeyNotFound
    return found
