"""``manage.py refresh_halves``: put fresh halves of split keys into use; their public keys stay."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keycast.errors import KeycastError
from keys.cosigning import refresh, upkeep
from keys.models import KeyState, PersonalKey


class Command(BaseCommand):
    """Exit code 1 when any key was not refreshed; run it again. The old halves are destroyed some minutes later."""

    help = "Renew both halves of split keys, so that old backups of them are worth nothing. One HSM operation a key."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--key", type=UUID, metavar="ID", help="this key alone")
        which.add_argument("--tenant", metavar="SLUG", help="every active split key of this tenant")
        which.add_argument("--all", action="store_true", help="every active split key")

    def handle(self, *args: Any, **options: Any) -> None:
        with scopes_disabled():
            keys = list(_chosen(options["key"], options["tenant"]))
        if not keys:
            raise CommandError("There is no such split key.")
        failed = [key for key in keys if not self._refreshed(key)]
        self.stdout.write(f"{len(keys) - len(failed)} of {len(keys)} keys have fresh halves.")
        if failed:
            raise SystemExit(1)

    def _refreshed(self, key: PersonalKey) -> bool:
        try:
            authoriser = upkeep.authoriser_of(key.provider)
            refresh.refresh(actor=Actor.command("refresh_halves"), key=key, authoriser=authoriser)
        except KeycastError as error:
            self.stderr.write(f"{key.id}: {error.public_message}")
            return False
        return True


def _chosen(key_id: UUID | None, slug: str | None) -> QuerySet[PersonalKey]:
    found = PersonalKey.objects.filter(key_mode="hsm", state=KeyState.ACTIVE).exclude(cosigner="")
    if key_id is not None:
        return found.filter(pk=key_id)
    return found.filter(tenant__slug=slug) if slug is not None else found
