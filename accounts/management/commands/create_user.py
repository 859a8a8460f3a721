"""Make an account, with a place in a tenant or as platform staff."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Role, StaffRole, Tenant, User
from accounts.selectors import membership_of
from accounts.services import add_member, create_user, make_staff
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError

PASSWORD_VARIABLE = "KEYCAST_PASSWORD"  # noqa: S105 -- a name
_ACTOR = Actor.command("create_user")
_ROLES = ", ".join(Role.values)
_STAFF_ROLES = ", ".join(StaffRole.values)


class Command(BaseCommand):
    """Exit code 0: made. 1: refused, with the reason.

    A password never stands among the arguments, where every process of the machine can read it: it comes from the
    first line of standard input (``--password-stdin``) or from the environment variable KEYCAST_PASSWORD.
    """

    help = "Make an account. Without a password, the person signs in with a code sent by e-mail."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="e-mail address, which whoever runs this vouches for")
        parser.add_argument("--name", default="", help="name shown to others")
        parser.add_argument("--tenant", metavar="SLUG", help="make the person a member of this tenant")
        parser.add_argument("--role", help=f"in that tenant: {_ROLES}, by default member; of staff: {_STAFF_ROLES}")
        parser.add_argument("--staff", action="store_true", help="make the person platform staff, in the role given")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        parser.add_argument("--existing-ok", action="store_true", help="only add what an existing account lacks")
        parser.add_argument("--json", action="store_true", help="print the account as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["tenant"] and not options["staff"]:
            raise CommandError("Say --tenant SLUG or --staff: an account without either can do nothing.", returncode=2)
        self._settle_role(options)
        try:
            with transaction.atomic():
                user = self._user(options)
                tenant = self._join(user, options)
        except KeycastError as refusal:
            raise CommandError(refusal.public_message) from None
        self._tell(user, tenant, options)

    def _settle_role(self, options: dict[str, Any]) -> None:
        """``--role`` is the role of what is asked for; of both at once it would not say of which."""
        role = options["role"]
        if role and options["tenant"] and options["staff"]:
            raise CommandError("With --tenant and --staff both, say --role in a call of its own.", returncode=2)
        known: list[str] = StaffRole.values if options["staff"] else Role.values
        if role and role not in known:
            raise CommandError(f"There is no role {role!r}. Choose from: {', '.join(known)}.", returncode=2)
        options["staff_role"] = role if role and options["staff"] else StaffRole.OPERATOR.value
        options["role"] = role if role and options["tenant"] else Role.MEMBER.value

    def _user(self, options: dict[str, Any]) -> User:
        if options["existing_ok"]:
            found = User.objects.filter(email=options["email"].strip().lower()).first()
            if found is not None:
                lacks_staff = options["staff"] and not found.is_staff
                return make_staff(actor=_ACTOR, user=found, role=options["staff_role"]) if lacks_staff else found
        password = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else None
        return create_user(
            actor=_ACTOR,
            email=options["email"],
            name=options["name"],
            password=password or os.environ.get(PASSWORD_VARIABLE) or None,
            is_staff=options["staff"],
            staff_role=options["staff_role"],
        )

    def _join(self, user: User, options: dict[str, Any]) -> Tenant | None:
        if not options["tenant"]:
            return None
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.", returncode=2)
        if not (options["existing_ok"] and membership_of(user, tenant)):
            add_member(actor=_ACTOR, tenant=tenant, user=user, role=options["role"])
        return tenant

    def _tell(self, user: User, tenant: Tenant | None, options: dict[str, Any]) -> None:
        facts = {
            "id": str(user.id),
            "email": user.email,
            "tenant": tenant.slug if tenant else None,
            "role": options["role"] if tenant else None,
            "staff": user.is_staff,
            "staff_role": user.staff_role or None,
        }
        places = [f"{options['role']} of {tenant.slug}"] if tenant else []
        places += [f"staff: {user.get_staff_role_display().lower()}"] if user.is_staff else []
        place = f" ({', '.join(places)})" if places else ""
        self.stdout.write(json.dumps(facts) if options["json"] else f"Account {user.email}{place}")
