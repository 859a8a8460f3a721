"""The command line: ``manage.py`` in a checkout, ``keycast`` or ``python -m keycast`` where it is installed."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, Final

FOR_OTHERS = ("collectstatic", "makemigrations")
"""Commands whose files others read: a web server, or a colleague."""


OBJECTS_OF_A_START: Final = 200_000
"""What importing Django and all apps makes, roughly. None of it ever goes away again."""


def collect_after_start() -> None:
    """Keep the garbage collector from walking over modules while they are imported: a sixth of the time of a start.

    The first collection is due when the start is as good as over. All that is there by then is frozen instead, and the
    collector goes on as before.
    """
    before = gc.get_threshold()

    def begin(_phase: str, _details: dict[str, Any]) -> None:
        gc.callbacks.remove(begin)
        gc.freeze()
        if gc.get_threshold()[0] == OBJECTS_OF_A_START:  # else a worker has chosen its own meanwhile
            gc.set_threshold(*before)

    gc.callbacks.append(begin)
    gc.set_threshold(OBJECTS_OF_A_START)


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    collect_after_start()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keycast.settings")
    if not set(sys.argv[1:2]) & set(FOR_OTHERS):
        os.umask(0o077)  # whatever else a command writes is its account's alone: databases, dumps, logs, keys
    if sys.argv[1:2] in (["nip46"], ["demo"]):  # a client of any bunker, and the demo's starter, serve nobody
        os.environ.setdefault("KEYCAST_ENVIRONMENT", "development")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (reads the settings named above)

    execute_from_command_line(sys.argv)
