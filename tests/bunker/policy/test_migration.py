"""Migration bunker.0005: *Everything* goes on opening what its user encrypted to themself, other policies do not."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.apps import apps

from bunker.models import Connection
from bunker.policy import TEMPLATES, Allow, RequestedUse, compile_policy
from tests.bunker.support import Home, issue, make_home, unscoped

migration = importlib.import_module("bunker.migrations.0005_everything_reads_own")
OLD_RULE = {"effect": "allow", "methods": ["nip44_decrypt"], "peers": "any"}


@pytest.fixture
def house(db: None) -> Home:
    return make_home()


def stored(home: Home, slug: str, document: Any) -> Connection:
    connection, _ = issue(home, slug)
    with unscoped():
        Connection.objects.filter(pk=connection.pk).update(policy=document)
    return connection


def opens_own(connection: Connection) -> bool:
    with unscoped():
        connection.refresh_from_db()
    use = RequestedUse(method="nip44_decrypt", self_public_key="aa" * 32, peer="aa" * 32)
    return isinstance(compile_policy(connection.policy).decide(use), Allow)


def test_what_was_granted_everything_keeps_it_and_messaging_does_not_widen(house: Home) -> None:
    old = {"version": 1, "rules": [OLD_RULE]}
    full, messaging = stored(house, "full", old), stored(house, "messaging", old)
    odd = stored(house, "full", ["no policy"])
    for _ in range(2):  # a migration that was killed runs again
        migration.add_rule(apps, None)
    assert opens_own(full)
    assert not opens_own(messaging)
    assert len(full.policy["rules"]) == 2
    with unscoped():
        assert Connection.objects.get(pk=odd.pk).policy == ["no policy"]
    assert migration.RULE in TEMPLATES["full"].document["rules"]
