"""``manage.py bunker_url``: print a fresh bunker URL for a key, for operators and for other programs."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django_scopes import scope

from bunker.management.granting import add_grant_arguments, end_of_access, find_key
from bunker.models import RequestRate
from bunker.services import IssuedUrl, create_bunker_url
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.models import PersonalKey


class Command(BaseCommand):
    """Issues one connection each time it runs; the URL on standard output holds its one-time secret."""

    help = "Print a fresh bunker URL. It holds a one-time secret: hand it to one app, keep it nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_grant_arguments(parser, name="Command line")
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
    minutes = options["secret_minutes"]
    return create_bunker_url(
        actor=Actor.command("bunker_url"),
        key=key,
        policy_slug=options["policy"],
        name=options["name"],
        expires_at=end_of_access(options),
        request_rate=RequestRate(options["rate"]),
        secret_lifetime=None if minutes is None else timedelta(minutes=minutes),
    )


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
