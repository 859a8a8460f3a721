"""A process of signer A that a test kills at a chosen step: makes a key, or refreshes one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django


def main(verb, folder, socket, subject):
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django_scopes import scopes_disabled

    from accounts.models import Tenant, User
    from keycast.audit.entries import Actor
    from keys.models import PersonalKey
    from keys.signing.cosigning.address import Address
    from keys.signing.cosigning.client import CosignerClient
    from keys.split import refresh
    from tests.keys.cosigner.rows import StoredHsm, make_row

    client, hsm = CosignerClient(lambda: Address(path=Path(socket))), StoredHsm(Path(folder))
    with scopes_disabled():
        if verb == "create":
            tenant = Tenant.objects.get(pk=subject)
            make_row(User.objects.get(), tenant, hsm, client)
            return
        key = PersonalKey.objects.get(pk=subject)
    actor = Actor.command("test")
    if verb == "refresh":
        refresh.refresh(actor=actor, key=key, authoriser=hsm, client=client)
    else:
        refresh.GRACE *= 0
        refresh.finish_due(client=client)


main(*sys.argv[1:])
