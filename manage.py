#!/usr/bin/env python
"""Django's command line for Keycast, in a checkout; an installed copy has ``keycast`` in its place."""

from keycast.command_line import main

if __name__ == "__main__":
    main()
