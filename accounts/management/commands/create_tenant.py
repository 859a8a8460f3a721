"""Make a tenant that is served at a host name."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.absolute_urls import origin
from accounts.models import KeyMode, Tenant
from accounts.services import create_tenant
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError


class Command(BaseCommand):
    """Exit code 0: made. 1: refused, with the reason."""

    help = "Make a tenant. Whoever runs this vouches that the host name is the tenant's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="short name: lower-case letters, digits, hyphens")
        parser.add_argument("host", help="host name it is served at, such as keys.example.com")
        parser.add_argument("--name", default="", help="name people see; the slug if not given")
        parser.add_argument(
            "--registration", choices=Tenant.Registration.values, default=Tenant.Registration.INVITATION.value
        )
        parser.add_argument(
            "--key-mode", action="append", choices=KeyMode.values, help="key mode offered; the first is the default"
        )
        parser.add_argument("--json", action="store_true", help="print the tenant as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant = create_tenant(
                actor=Actor.command("create_tenant"),
                slug=options["slug"],
                name=options["name"] or options["slug"],
                host=options["host"],
                registration=options["registration"],
                key_modes=options["key_mode"],
            )
        except KeycastError as refusal:
            raise CommandError(refusal.public_message) from None
        facts = {"id": str(tenant.id), "slug": tenant.slug, "name": tenant.name, "origin": origin(tenant)}
        self.stdout.write(json.dumps(facts) if options["json"] else f"Tenant {tenant.slug} at {facts['origin']}")
