"""Who is platform staff, in which role: list, make, change, end. How the first security officers come to be."""

from __future__ import annotations

import json
from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import StaffRole, User
from accounts.services import change_staff_role, end_staff, make_staff
from accounts.staff.gate import SECOND_FACTORS
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError

_ACTOR = Actor.command("staff")


class Command(BaseCommand):
    """Exit code 0: done. 1: refused, with the reason. 2: no such person or role.

    On the server's own command line no second person is asked for; security officers get a mail of what was done.
    """

    help = "List platform staff, make somebody staff, change a role, or end it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")
        steps = parser.add_subparsers(dest="step", required=True, metavar="list | make | role | end")
        steps.add_parser("list", help="everybody on the staff")
        for name, what in (("make", "make a person with an account staff"), ("role", "give one of the staff a role")):
            step = steps.add_parser(name, help=what)
            step.add_argument("email")
            step.add_argument("--role", choices=StaffRole.values, required=name == "role", default=StaffRole.OPERATOR)
            step.add_argument("--reason", default="", help="written to the audit log")
        end = steps.add_parser("end", help="take a person off the staff")
        end.add_argument("email")
        end.add_argument("--reason", default="", help="written to the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["step"] == "list":
            self._tell(list(User.objects.filter(is_staff=True)), options)
            return
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError("There is no such account. Make it: manage.py create_user", returncode=2)
        try:
            self._tell([self._do(user, options)], options)
        except KeycastError as refusal:
            raise CommandError(refusal.public_message) from None

    def _do(self, user: User, options: dict[str, Any]) -> User:
        reason = options["reason"]
        if options["step"] == "end":
            return end_staff(actor=_ACTOR, user=user, reason=reason)
        service = make_staff if options["step"] == "make" else change_staff_role
        return service(actor=_ACTOR, user=user, role=options["role"], reason=reason)

    def _tell(self, people: list[User], options: dict[str, Any]) -> None:
        facts = [_facts(user) for user in people]
        if options["json"]:
            self.stdout.write(json.dumps(facts))
            return
        for fact in facts:
            lack = "" if fact["second_factor"] or not fact["role"] else ", no second factor yet"
            state = "" if fact["active"] else ", deactivated"
            self.stdout.write(f"{fact['email']}: {fact['role'] or 'not on the staff'}{state}{lack}")


def _facts(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "email": user.email,
        "role": user.staff_role or None,
        "active": user.is_active,
        "second_factor": bool(is_mfa_enabled(user, SECOND_FACTORS)),
    }
