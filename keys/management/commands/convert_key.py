"""``manage.py convert_key``: move encrypted keys to the split mode that Cloud KMS authorises; public keys stay."""

from __future__ import annotations

import json
import time
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scope, scopes_disabled

from accounts.models import KeyMode
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys import services
from keys.errors import KeyNotFound
from keys.models import Conversion, ConversionStep, KeyState, PersonalKey
from keys.selectors import key_by_public_key
from keys.split.conversion import steps

FAILED: Final = 1
REFUSED: Final = 2


class Command(BaseCommand):
    """Exit code 0: every key has moved (or was given up, with ``--cancel``). 1: some are not done. 2: nothing to do.

    Interrupted or killed, jobs go on with what was begun; run it again to look on.
    """

    help = "Move encrypted keys to Cloud KMS: split in two, under the same public key. There is no way back."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--key", metavar="ID", help="this key alone, by id, npub or hex public key")
        which.add_argument("--tenant", metavar="SLUG", help="every active encrypted key of this tenant")
        parser.add_argument("--cancel", action="store_true", help="give moves up that have not ended, and clean up")
        parser.add_argument("--dry-run", action="store_true", help="name the keys, and change nothing")
        parser.add_argument("--wait", type=float, default=300.0, metavar="SECONDS", help="for the HSM; default 300")
        parser.add_argument("--json", action="store_true", help="print one JSON object for each key")

    def handle(self, *args: Any, **options: Any) -> None:
        self._as_json = options["json"]
        # An operator names a key or a tenant, whichever it is.
        with scopes_disabled():
            keys = _chosen(options)
        if not keys:
            raise CommandError("There is no such key.", returncode=REFUSED)
        if options["dry_run"]:
            for key in keys:
                self._tell(key, "would-move")
            return
        action = self._cancelled if options["cancel"] else self._begun
        begun = [key for key in keys if action(key)]
        left = _waited(begun, options["wait"])
        for key in begun:
            self._tell(key, *_outcome(key))
        missed = [key for key in begun if _outcome(key)[0] != ("cancelled" if options["cancel"] else "moved")]
        if left or missed or len(begun) < len(keys):
            raise SystemExit(FAILED)

    def _begun(self, key: PersonalKey) -> bool:
        try:
            services.convert_key(actor=Actor.command("convert_key"), key=key)
        except KeycastError as refused:
            self._tell(key, "refused", refused.public_message)
            return False
        return True

    def _cancelled(self, key: PersonalKey) -> bool:
        try:
            services.cancel_conversion(actor=Actor.command("convert_key"), key=key)
        except KeycastError as refused:
            self._tell(key, "refused", refused.public_message)
            return False
        return True

    def _tell(self, key: PersonalKey, outcome: str, why: str = "") -> None:
        if self._as_json:
            told = {"key": str(key.id), "public_key": key.public_key, "outcome": outcome, "message": why}
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(f"{key.id}  {key.public_key}  {outcome}{f': {why}' if why else ''}")


def _chosen(options: dict[str, Any]) -> list[PersonalKey]:
    if options["key"]:
        try:
            return [_named(options["key"])]
        except KeycastError:
            return []
    found = PersonalKey.objects.filter(
        tenant__slug=options["tenant"], key_mode=KeyMode.ENCRYPTED, state=KeyState.ACTIVE
    )
    if options["cancel"]:
        found = found.filter(conversion__isnull=False)
    return list(found.select_related("tenant", "user"))


def _named(text: str) -> PersonalKey:
    try:
        found: PersonalKey | None = PersonalKey.objects.select_related("tenant", "user").filter(pk=UUID(text)).first()
    except ValueError:
        found = key_by_public_key(text)
    if found is None:
        raise KeyNotFound
    return found


def _waited(keys: list[PersonalKey], seconds: float) -> list[PersonalKey]:
    """Bring the conversions on until all have ended, or the time is up; those that have not."""
    end, left = time.monotonic() + seconds, keys
    while left:
        left = [key for key in left if not steps.advance(key.id)]
        if not left or time.monotonic() > end:
            break
        time.sleep(1)
    return left


def _outcome(key: PersonalKey) -> tuple[str, str]:
    with scope(tenant=key.tenant_id):
        going = Conversion.objects.filter(key_id=key.id).first()
        mode = PersonalKey.objects.values_list("key_mode", flat=True).get(pk=key.pk)
    if going is not None:
        return ("failed" if going.step == ConversionStep.FAILED else "goes-on"), going.problem
    return ("moved" if mode == KeyMode.HSM else "cancelled"), ""
