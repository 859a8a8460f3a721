"""The part of ``make demo`` that touches the database: migrates it, fills it, and writes ``demo.json``."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scopes_disabled

from keycast.base.child_processes import end_with_parent
from keycast.base.errors import KeycastError
from keycast.demo.environment import ADMIN_HOST, PORTAL_HOST, write_private


class Command(BaseCommand):
    """Run by ``manage.py demo`` with the environment of the demo; its output is for that command alone."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hsm", action="store_true", help="add the key of the HSM; needs the server running")

    def handle(self, *args: Any, hsm: bool = False, **options: Any) -> None:
        end_with_parent()
        if settings.IS_PRODUCTION:
            raise CommandError("The demo publishes its passwords; it does not run in production.")
        if hsm:
            self._add_hsm_key()
            return
        call_command("generate_kek", "--if-missing", stdout=StringIO())
        call_command("migrate", verbosity=0)
        from keycast.demo.population import ensure_population  # noqa: PLC0415  (needs the key-encryption key)

        # The demo makes its tenant here, and looks for what is there already.
        with scopes_disabled():
            made = ensure_population()
        _write(_published(made))
        self.stdout.write(json.dumps(made))

    def _add_hsm_key(self) -> None:
        from keycast.demo.population import ensure_hsm_key  # noqa: PLC0415

        try:
            # The demo looks its own rows up by name.
            with scopes_disabled():
                made = ensure_hsm_key()
        except (KeycastError, KeyError) as error:
            raise CommandError(f"No key of the emulated HSM: {error}") from None
        published = json.loads((settings.DATA_DIR / "demo.json").read_text(encoding="utf-8"))
        others = [key for key in published["keys"] if key["npub"] != made["npub"]]
        shown = {name: value for name, value in made.items() if name != "own_bunker_url"}
        _write({**published, "keys": [*others, {**shown, "emulated": True}]})
        self.stdout.write(json.dumps(made))


def _write(published: dict[str, Any]) -> None:
    write_private(settings.DATA_DIR / "demo.json", json.dumps(published, indent=2) + "\n")


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
