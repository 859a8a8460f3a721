#!/usr/bin/env python
"""Django's command line for Keycast."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keycast.settings")
    if sys.argv[1:2] in (["nip46"], ["demo"]):  # a client of any bunker, and the demo's starter, serve nobody
        os.environ.setdefault("KEYCAST_ENVIRONMENT", "development")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
