"""``python -m keycast``: what ``manage.py`` is in a checkout."""

from keycast.command_line import main

if __name__ == "__main__":
    main()
