"""``manage.py approve_nostrconnect``: let in an app by the address that it shows, as its owner does in the portal."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django_scopes import scope

from bunker.management.granting import add_grant_arguments, end_of_access, find_key
from bunker.models import Connection, RequestRate
from bunker.selectors import ConnectAnswer, connect_answer_of
from bunker.services import approve_nostrconnect
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.nostr.uris import MAX_CLIENT_URI, NostrConnectUri, UriError

LOOK_EVERY = 0.25


class Command(BaseCommand):
    """Reads the URI from standard input: it holds the app's secret, which belongs on no command line."""

    help = "Let in the app whose nostrconnect:// URI is on standard input, and wait until it has heard so."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_grant_arguments(parser, name="")
        parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for a relay to take the answer")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            uri = NostrConnectUri.parse(sys.stdin.read(MAX_CLIENT_URI + 1).strip())
        except UriError as refused:
            raise CommandError(f"This is no nostrconnect:// URI that can be used ({refused.code}).") from None
        for part, text in uri.left_out:
            self.stderr.write(f"Left out of the URI: {part} {text!r}")
        key = find_key(options["key"])
        with scope(tenant=key.tenant_id):
            try:
                connection = approve_nostrconnect(
                    actor=Actor.command("approve_nostrconnect"),
                    key=key,
                    uri=uri,
                    policy_slug=options["policy"],
                    name=options["name"],
                    expires_at=end_of_access(options),
                    request_rate=RequestRate(options["rate"]),
                )
            except KeycastError as error:
                raise CommandError(error.public_message) from None
            for url in uri.relays:
                if url not in connection.relays:
                    self.stderr.write(f"Left out: {url!r} cannot be used, or is one relay too many.")
            self.stdout.write(f"Approved {connection.name!r}: connection {connection.id}.")
            self._wait_until_heard(connection, options["wait"])

    def _wait_until_heard(self, connection: Connection, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            answer = connect_answer_of(connection)
            if answer == ConnectAnswer.TAKEN:
                self.stdout.write("A relay of the app has taken the answer.")
                return
            if answer == ConnectAnswer.NOT_TAKEN:
                raise CommandError("No relay of the app took the answer. Revoke the connection and try another relay.")
            if time.monotonic() >= deadline:
                raise CommandError(
                    "No relay of the app has taken the answer yet; a running worker tries for five minutes. "
                    "The app's page in the portal says what became of it."
                )
            time.sleep(LOOK_EVERY)  # the worker is another process, and tells of what it did in the database alone
