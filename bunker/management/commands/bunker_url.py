"""``manage.py bunker_url``: print a fresh bunker URL for a key, for operators and for other programs."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from bunker.policy import TEMPLATES
from bunker.services import IssuedUrl, create_bunker_url
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.nostr import nip19
from keys.models import PersonalKey


class Command(BaseCommand):
    """Issues one connection each time it runs; the URL on standard output holds its one-time secret."""

    help = "Print a fresh bunker URL. It holds a one-time secret: hand it to one app, keep it nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--key", required=True, help="the key's id, npub or public key in hex")
        parser.add_argument("--policy", required=True, choices=sorted(TEMPLATES), help="what the app may do")
        parser.add_argument("--name", default="Command line", help="the app's name in the portal")
        parser.add_argument("--days", type=int, help="end the app's access after so many days")
        parser.add_argument("--secret-minutes", type=int, help="minutes the secret waits to be used")
        parser.add_argument("--json", action="store_true", help="print a JSON object instead of the bare URL")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key = find_key(options["key"])
            with scope(tenant=key.tenant_id):
                issued = _issue(key, options)
        except KeycastError as error:
            raise CommandError(error.public_message) from None
        self.stdout.write(json.dumps(_as_json(issued)) if options["json"] else issued.uri)


def _issue(key: PersonalKey, options: dict[str, Any]) -> IssuedUrl:
    days, minutes = options["days"], options["secret_minutes"]
    return create_bunker_url(
        actor=Actor.command("bunker_url"),
        key=key,
        policy_slug=options["policy"],
        name=options["name"],
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
        secret_lifetime=None if minutes is None else timedelta(minutes=minutes),
    )


def find_key(wanted: str) -> PersonalKey:
    """The key with this id, npub or public key in hex, in whatever tenant. Raises CommandError."""
    # An operator names a key, in whatever tenant it is.
    with scopes_disabled():
        keys = PersonalKey.objects.select_related("tenant")
    try:
        if wanted.startswith("npub1"):
            return keys.get(public_key=nip19.decode_npub(wanted))
        if len(wanted) == 64:
            return keys.get(public_key=wanted.lower())
        return keys.get(id=UUID(wanted))
    except (PersonalKey.DoesNotExist, ValueError):
        raise CommandError("There is no key with that id or npub.") from None


def _as_json(issued: IssuedUrl) -> dict[str, Any]:
    connection = issued.connection
    return {
        "bunker_url": issued.uri,
        "connection_id": str(connection.id),
        "key_id": str(connection.key_id),
        "policy": connection.policy_slug,
        "relays": connection.relays,
        "secret_expires_at": issued.secret_expires_at.isoformat(),
        "expires_at": connection.expires_at.isoformat() if connection.expires_at else None,
    }
