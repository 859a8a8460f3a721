"""Look at the seals of rows that make somebody a person, and take rows as right that were changed by hand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scopes_disabled

from accounts import seal_checks
from accounts.models import Membership, Tenant, User
from accounts.services.seals import seal_account, seal_export_rule, seal_membership
from keycast.audit.entries import Actor
from keys import services
from keys.models import PersonalKey
from keys.owner_seals import renew_owners

_ACTOR = Actor.command("seal_rows")
_MISSING = (User.DoesNotExist, Membership.DoesNotExist, Tenant.DoesNotExist, PersonalKey.DoesNotExist, ValueError)


class Command(BaseCommand):
    """Exit code 0: all seals fit, or what was named is sealed. 1: some do not. 2: there is no such row.

    Look at a row before you seal it: what it says now is what counts from then on. Each is in the audit log.
    """

    help = "Show rows that do not fit their seals; seal one that was changed by hand."

    def add_arguments(self, parser: CommandParser) -> None:
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--account", metavar="EMAIL", help="seal an account with what it has now to sign in")
        one.add_argument("--membership", nargs=2, metavar=("EMAIL", "TENANT"), help="seal a person's place in a tenant")
        one.add_argument(
            "--tenant", metavar="SLUG", help="seal after how long a tenant lets keys be exported, if at all"
        )
        one.add_argument("--key", metavar="ID", help="seal whose a key is")
        parser.add_argument("--reason", default="", help="written to the audit log; needed to seal")

    def handle(self, *args: Any, **options: Any) -> None:
        # Rows of any tenant: an operator's look.
        with scopes_disabled():
            if not any(options[name] for name in ("account", "membership", "tenant", "key")):
                return self._look()
            if not options["reason"].strip():
                raise CommandError("Say why: --reason TEXT", returncode=2)
            try:
                self._seal(options)
            except _MISSING:
                raise CommandError("There is no such row.", returncode=2) from None
        self.stdout.write("Sealed.")
        return None

    def _seal(self, options: dict[str, Any]) -> None:
        reason = options["reason"].strip()
        if options["account"]:
            seal_account(actor=_ACTOR, user=User.objects.get(email=options["account"].lower()), reason=reason)
        elif options["membership"]:
            email, tenant = options["membership"]
            place = Membership.objects.get(user__email=email.lower(), tenant__slug=tenant)
            seal_membership(actor=_ACTOR, membership=place, reason=reason)
        elif options["tenant"]:
            seal_export_rule(actor=_ACTOR, tenant=Tenant.objects.get(slug=options["tenant"]), reason=reason)
        else:
            key = PersonalKey.objects.get(pk=UUID(options["key"]))
            services.seal_owner(actor=_ACTOR, key=key, reason=reason)

    def _look(self) -> None:
        found = {**seal_checks.renew_accounts()[1], "keys": renew_owners()[1]}
        for what, rows in found.items():
            for row in rows:
                self.stdout.write(f"{what}: {row} does not fit its seal")
        if any(found.values()):
            raise CommandError("Look at who can write the database.", returncode=1)
        self.stdout.write("Every seal fits.")
