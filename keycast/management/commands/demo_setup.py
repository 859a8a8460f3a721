"""The part of ``make demo`` that touches the database: migrates it, fills it, and writes ``demo.json``."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django_scopes import scopes_disabled

from keycast.demo.surroundings import ADMIN_HOST, PORTAL_HOST, write_private


class Command(BaseCommand):
    """Run by ``manage.py demo`` with the environment of the demo; its output is for that command alone."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("The demo publishes its passwords; it does not run in production.")
        call_command("generate_kek", "--if-missing", stdout=StringIO())
        call_command("migrate", verbosity=0)
        from keycast.demo.population import settle  # noqa: PLC0415  (needs the key-encryption key)

        with scopes_disabled():
            made = settle()
        write_private(settings.DATA_DIR / "demo.json", json.dumps(_published(made), indent=2) + "\n")
        self.stdout.write(json.dumps(made))


def _published(made: dict[str, Any]) -> dict[str, Any]:
    """What other programs may use (mode 0600): the addresses here are unused, and work for ``HOURS`` hours."""
    port = settings.PUBLIC_PORT
    return {
        "portal_url": f"http://{PORTAL_HOST}:{port}/",
        "admin_url": f"http://{ADMIN_HOST}:{port}/admin/",
        "relay_url": f"ws://{PORTAL_HOST}:{port}/relay",
        "users": made["users"],
        "keys": made["keys"],
        "bunker_urls_work_for_hours": made["hours"],
    }
