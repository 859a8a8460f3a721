"""A process that brings a conversion or a succession on, and that a test kills at a chosen step."""

from __future__ import annotations

import os
import sys
from uuid import UUID

import django


def main(verb, key_id):
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django_scopes import scopes_disabled

    from keycast.audit.entries import Actor
    from keys.hsm.registration import hsm_key_managers
    from keys.models import PersonalKey
    from keys.split import maintenance, succession
    from keys.split.conversion import steps, wakeup

    wakeup._enqueue = maintenance._enqueue = lambda _: None
    keeper = hsm_key_managers()["google"]
    if verb == "convert":
        steps.advance(UUID(key_id))
    elif verb == "succeed":
        with scopes_disabled():
            key = PersonalKey.objects.get(pk=UUID(key_id))
        authoriser = maintenance.authoriser_of("google")
        succession.succeed(actor=Actor.command("test"), key=key, authoriser=authoriser, keeper=keeper)
    else:
        succession.finish_due(keeper)


main(*sys.argv[1:])
