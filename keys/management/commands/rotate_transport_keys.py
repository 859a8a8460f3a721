"""``manage.py rotate_transport_keys``: see docs/key-rotation.md."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "transport"
    help = (
        "Give every key a new remote-signer key. New bunker URLs name it; apps that are connected stay on the old one, "
        "until they end or the grace period is over."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--grace-days",
            type=int,
            metavar="DAYS",
            help="revoke the apps on the old keys after so many days; 0: at once. Default: never",
        )

    def options_of(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"grace_days": options["grace_days"]}
