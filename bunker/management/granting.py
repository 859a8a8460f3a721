"""What commands that connect an app to a key have in common: whose key, under which policy, until when."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone
from django_scopes import scopes_disabled

from bunker.models import RequestRate
from bunker.policy import TEMPLATES
from keycast.nostr import nip19
from keys.models import PersonalKey


def add_grant_arguments(parser: ArgumentParser, *, name: str) -> None:
    """``--key``, ``--policy``, ``--name`` (``name`` by default), ``--rate`` and ``--days``."""
    parser.add_argument("--key", required=True, help="the key's id, npub or public key in hex")
    parser.add_argument("--policy", required=True, choices=sorted(TEMPLATES), help="what the app may do")
    parser.add_argument("--name", default=name, help="the app's name in the portal")
    parser.add_argument(
        "--rate",
        choices=RequestRate.values,
        default=RequestRate.MACHINE.value,
        help="how often the app may ask: as a person's app, or as a server (default: who uses commands has servers)",
    )
    parser.add_argument("--days", type=int, help="end the app's access after so many days")


def end_of_access(options: dict[str, Any]) -> datetime | None:
    """What ``--days`` means now; None without it."""
    days = options["days"]
    return None if days is None else timezone.now() + timedelta(days=days)


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
