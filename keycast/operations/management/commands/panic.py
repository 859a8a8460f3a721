"""Lock or unlock a connection, a key, a person, a tenant or the deployment, from the server itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scopes_disabled

from accounts import services as people
from accounts.models import Tenant, User
from accounts.panic import services as deployment
from accounts.panic.selectors import deployment_lock
from bunker.models import Connection
from bunker.services import lock_connection, unlock_connection
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keys import services as keys
from keys.models import PersonalKey

DONE, REFUSED, USAGE = 0, 1, 2
ACTOR: Final = Actor.command("panic")
LEVELS: Final = ("deployment", "tenant", "user", "key", "connection")


class Command(BaseCommand):
    """Exit code 0: done. 1: refused, and why. 2: asked wrongly, or no such thing."""

    help = (
        "Stop all signing for one connection, key, user, tenant, or the whole deployment, within a second; or lift "
        "such a lock. Whoever has a shell acts alone; security officers are told by mail of what needs two elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=["lock", "unlock", "status"])
        parser.add_argument("level", choices=LEVELS, nargs="?", default="deployment")
        parser.add_argument(
            "target", nargs="?", default="", help="tenant: slug; user: e-mail; key: npub, hex or id; connection: id"
        )
        parser.add_argument("--reason", default="", help="written to the audit log; needed to lock or unlock")
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["step"] == "status":
            self._say(_status(), options["json"])
            return
        if not options["reason"].strip():
            raise CommandError("Give a --reason.", returncode=USAGE)
        # An operator stops what is named, in whatever tenant it is.
        with scopes_disabled():
            row = _find(options["level"], options["target"])
            try:
                _SERVICES[options["level"], options["step"]](row, options["reason"])
            except KeycastError as refusal:
                raise CommandError(refusal.public_message, returncode=REFUSED) from None
        self._say({"done": options["step"], "level": options["level"], "target": str(row or "")}, options["json"])

    def _say(self, outcome: dict[str, Any], is_json: bool) -> None:
        if is_json:
            self.stdout.write(json.dumps(outcome))
            return
        for name, value in outcome.items():
            self.stdout.write(f"{name}: {value}")


def _status() -> dict[str, Any]:
    lock = deployment_lock()
    tenants = Tenant.objects.exclude(state=Tenant.State.ACTIVE).order_by("slug")
    locked = User.objects.filter(locked_at__isnull=False).order_by("email")
    return {
        "deployment_locked": lock.locked_at is not None,
        "since": lock.locked_at.isoformat() if lock.locked_at else None,
        "by": lock.locked_by,
        "reason": lock.reason,
        "tenants": {tenant.slug: tenant.state for tenant in tenants},
        "users": list(locked.values_list("email", flat=True)[:1000]),
    }


def _find(level: str, target: str) -> Any:
    """The row that is meant. Raises CommandError."""
    if level == "deployment":
        if target:
            raise CommandError("There is one deployment: name nothing more.", returncode=USAGE)
        return None
    found = _FINDERS[level](target) if target else None
    if found is None:
        raise CommandError(f"There is no {level} {target!r}.", returncode=USAGE)
    return found


def _key(target: str) -> PersonalKey | None:
    try:
        return PersonalKey.objects.filter(public_key=public_key_of(target)).first()
    except Nip19Error:
        found: PersonalKey | None = _by_id(PersonalKey, target)
        return found


def _by_id(model: Any, target: str) -> Any:
    try:
        return model.objects.filter(pk=UUID(target)).first()
    except ValueError:
        return None


_FINDERS: Final[dict[str, Callable[[str], Any]]] = {
    "tenant": lambda target: Tenant.objects.filter(slug=target).first(),
    "user": lambda target: User.objects.filter(email=target.strip().lower()).first(),
    "key": _key,
    "connection": lambda target: _by_id(Connection, target),
}
_SERVICES: Final[dict[tuple[str, str], Callable[[Any, str], Any]]] = {
    ("deployment", "lock"): lambda _, reason: deployment.lock_deployment(actor=ACTOR, reason=reason),
    ("deployment", "unlock"): lambda _, reason: deployment.unlock_deployment(actor=ACTOR, reason=reason),
    ("tenant", "lock"): lambda row, reason: people.lock_tenant(actor=ACTOR, tenant=row, reason=reason),
    ("tenant", "unlock"): lambda row, reason: people.unlock_tenant(actor=ACTOR, tenant=row, reason=reason),
    ("user", "lock"): lambda row, reason: people.lock_user(actor=ACTOR, user=row, reason=reason),
    ("user", "unlock"): lambda row, reason: people.unlock_user(actor=ACTOR, user=row, reason=reason),
    ("key", "lock"): lambda row, reason: keys.lock_key(actor=ACTOR, key=row, reason=reason),
    ("key", "unlock"): lambda row, reason: keys.unlock_key(actor=ACTOR, key=row),
    ("connection", "lock"): lambda row, reason: lock_connection(actor=ACTOR, connection=row, reason=reason),
    ("connection", "unlock"): lambda row, reason: unlock_connection(actor=ACTOR, connection=row, reason=reason),
}
