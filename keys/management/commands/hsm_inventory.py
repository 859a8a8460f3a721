"""``manage.py hsm_inventory``: compare what HSMs hold with what the database names. Changes nothing there."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.hsm.inventory import services
from keys.models import HsmInventory, InventoryState, Provider

AGREES, DIFFERS, UNKNOWN = 0, 1, 2
MINUTE: Final = 60.0
_ACTOR: Final = Actor.command("hsm_inventory")


class Command(BaseCommand):
    """Exit code 0: they agree; 1: something wants a look; 2: an HSM could not be asked, or there is none."""

    help = "Compare HSMs with the database. Exit code 0: they agree, 1: something wants a look, 2: could not be told."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--provider", choices=Provider.values, help="this HSM alone")
        parser.add_argument("--last", action="store_true", help="show the last result and ask no HSM")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = [options["provider"]] if options["provider"] else services.providers()
        if not wanted:
            raise CommandError("No HSM is set up on this server.", returncode=UNKNOWN)
        found = [self._last(provider) if options["last"] else self._taken(provider) for provider in wanted]
        if options["json"]:
            self.stdout.write(json.dumps([services.as_dict(each) for each in found], indent=2))
        else:
            for each in found:
                self._tell(each)
        raise SystemExit(max(_code(each) for each in found))

    def _last(self, provider: str) -> HsmInventory:
        found = next((each for each in services.latest(provider) if each.state == InventoryState.DONE), None)
        if found is None:
            raise CommandError(f"There is no inventory of {provider} yet.", returncode=UNKNOWN)
        return found

    def _taken(self, provider: str) -> HsmInventory:
        """From beginning to end, as fast as the HSM's quota lets it; gives up when the HSM does not answer."""
        try:
            taken = services.start_inventory(actor=_ACTOR, provider=provider, soon=False)
        except KeycastError as error:
            raise CommandError(error.public_message, returncode=UNKNOWN) from None
        while not services.is_over(taken):
            began, done = time.monotonic(), taken.done
            taken = services.step(taken.pk)
            if taken.failures:
                return services.fail_inventory(actor=_ACTOR, inventory=taken, problem=taken.problem)
            if not services.is_over(taken):
                self.stderr.write(f"{provider}: {taken.done} of {taken.total or '?'} keys")
                self._pause(began, is_held=taken.done == done)
        return taken

    def _pause(self, began: float, *, is_held: bool) -> None:
        """Quotas are by the minute; a step that another process holds is looked at again sooner."""
        time.sleep(2.0 if is_held else max(0.0, MINUTE - (time.monotonic() - began)))

    def _tell(self, taken: HsmInventory) -> None:
        label = Provider(taken.provider).label
        self.stdout.write(f"{label}, {taken.started_at:%Y-%m-%d %H:%M} UTC: {taken.get_state_display().lower()}.")
        if taken.problem:
            self.stdout.write(f"  {taken.problem}")
        report = taken.report
        self.stdout.write(f"  {taken.done} rows, {report.get('in_hsm', 0)} keys of ours in the HSM.")
        for group in services.groups(taken):
            self.stdout.write(f"  {group.title}: {group.count}. {group.advice}")
            for finding in group.findings:
                told = " ".join(part for part in (finding["name"], finding["key_id"], finding["detail"]) if part)
                self.stdout.write(f"    {told}")
        if report.get("foreign_count"):
            self.stdout.write(f"  Not Keycast's, never touched: {report['foreign_count']}.")


def _code(taken: HsmInventory) -> int:
    if taken.state != InventoryState.DONE:
        return UNKNOWN
    return DIFFERS if services.attention_count(taken) else AGREES
