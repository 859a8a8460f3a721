"""A process that brings a conversion on, and that a test kills at a chosen step."""

from __future__ import annotations

import os
import sys
from uuid import UUID

import django


def main(key_id):
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from keys.conversion import course, nudging

    nudging._enqueue = lambda _: None
    course.advance(UUID(key_id))


main(*sys.argv[1:])
