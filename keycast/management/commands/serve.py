"""Serve web, built-in relay and, in the embedded shape, the bunker worker and jobs, from one process."""

from __future__ import annotations

import socket
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.base import hsm_keeping
from keycast.base.child_processes import end_with_parent
from keycast.base.hardening import harden


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.LISTEN_HOST, help="Address to listen on.")
        parser.add_argument("--port", type=int, default=settings.LISTEN_PORT, help="Port to listen on; 0 takes any.")
        parser.add_argument("--fd", type=int, help="Serve on this listening socket that we inherited, and open none.")

    def handle(self, *args: Any, host: str, port: int, fd: int | None, **options: Any) -> None:
        harden(locks_memory=False)
        hsm_keeping.give_up()
        end_with_parent()
        from keycast.server import Server, listen  # noqa: PLC0415  (refuses an unsafe start)

        try:
            listener = listen(host, port) if fd is None else socket.socket(fileno=fd)
        except OSError as error:
            if fd is not None:
                raise CommandError(f"{fd} is no socket that we inherited: {error.strerror}.") from None
            raise CommandError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose with --port or KEYCAST_LISTEN_PORT."
            ) from None
        try:
            server = Server(host=host, port=port)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        if options["verbosity"]:
            self._announce(listener)
        server.run(sockets=[listener])

    def _announce(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        shape = "web, relay, bunker worker, jobs" if settings.EMBEDDED else "web and relay"
        self.stdout.write(f"Keycast ({settings.ENVIRONMENT}: {shape}) listens on http://{host}:{port}/")
        self.stdout.flush()
