"""``manage.py create_key``: make a key for a member, for operators and for other programs."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import KeyMode, Tenant, User
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.nostr import nip19
from keys import services
from keys.models import PersonalKey, Provider


class Command(BaseCommand):
    """Prints the new key's npub, or with ``--json`` one object. Exits with 1, and the reason on stderr, if refused."""

    help = "Make a key for a member of a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--user", required=True, metavar="EMAIL", help="an active member of the tenant")
        parser.add_argument("--name", required=True, help="the key's name, for its owner")
        parser.add_argument("--mode", choices=KeyMode.values, help="default: what the tenant offers first")
        parser.add_argument("--provider", choices=Provider.values, help="default: the one that is set up")
        parser.add_argument("--json", action="store_true", help="print a JSON object instead of the npub")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key = services.create_key(
                actor=Actor.command("create_key"),
                tenant=tenant_named(options["tenant"]),
                user=user_with(options["user"]),
                name=options["name"],
                key_mode=options["mode"],
                provider=options["provider"],
            )
        except KeycastError as error:
            raise CommandError(error.public_message) from None
        self.stdout.write(json.dumps(as_json(key)) if options["json"] else _npub(key) or f"{key.id} is {key.state}")


def tenant_named(slug: str) -> Tenant:
    """The tenant with this slug. Raises CommandError."""
    try:
        return Tenant.objects.get(slug=slug)
    except Tenant.DoesNotExist:
        raise CommandError("There is no tenant with that slug.") from None


def user_with(email: str) -> User:
    """The user with this e-mail address, in any case. Raises CommandError."""
    try:
        return User.objects.get(email__iexact=email)
    except User.DoesNotExist:
        raise CommandError("There is no user with that e-mail address.") from None


def as_json(key: PersonalKey) -> dict[str, Any]:
    """What other programs get to know of a new key."""
    return {
        "key_id": str(key.id),
        "npub": _npub(key),
        "public_key": key.public_key,
        "mode": key.key_mode,
        "provider": key.provider_of_mode,
        "state": str(key.state),
        "name": key.name,
    }


def _npub(key: PersonalKey) -> str | None:
    return nip19.encode_npub(key.public_key) if key.public_key else None
