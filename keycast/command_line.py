"""The command line: ``manage.py`` in a checkout, ``keycast`` or ``python -m keycast`` where it is installed."""

from __future__ import annotations

import os
import sys

FOR_OTHERS = ("collectstatic", "makemigrations")
"""Commands whose files others read: a web server, or a colleague."""


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keycast.settings")
    if not set(sys.argv[1:2]) & set(FOR_OTHERS):
        os.umask(0o077)  # whatever else a command writes is its account's alone: databases, dumps, logs, keys
    if sys.argv[1:2] in (["nip46"], ["demo"]):  # a client of any bunker, and the demo's starter, serve nobody
        os.environ.setdefault("KEYCAST_ENVIRONMENT", "development")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (reads the settings named above)

    execute_from_command_line(sys.argv)
