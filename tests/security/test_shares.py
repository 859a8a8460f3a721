"""What one person may take of what all share: outbound relays, keys (threats S4, F3)."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scopes_disabled

from bunker import services
from bunker.errors import InvalidConnection
from bunker.models import Connection
from bunker.relays.event_checks import Intake
from bunker.relays.limits import OutboundLimits
from bunker.relays.pool import RelayPool
from keycast.audit.entries import Actor
from keycast.crypto.schnorr import Keypair
from keycast.nostr.uris import NostrConnectUri
from keys import services as key_services
from keys.errors import CustodyError
from tests.bunker.support import Home, make_home

OPERATORS = "wss://relay.operator.example"


async def test_relays_that_one_person_names_do_not_push_out_the_operators(settings: Any) -> None:
    settings.OUTBOUND_RELAYS = [OPERATORS + "/"]
    pool = RelayPool(Intake(), limits=OutboundLimits(relays=5))
    odd = {f"wss://r{number}.attacker.example": {"ab" * 32} for number in range(20)}
    popular = {"wss://popular.example": {f"{number:064x}" for number in range(30)}}
    pool.set_wanted(odd)
    assert len(pool.health()) == 5
    pool.set_wanted({**odd, **popular, OPERATORS: {"cd" * 32}})
    urls = {row.url for row in pool.health()}
    assert len(urls) == 5
    assert {OPERATORS, "wss://popular.example"} <= {url.rstrip("/") for url in urls}
    pool.set_wanted({**odd, **popular, OPERATORS: {"cd" * 32}})
    assert {row.url for row in pool.health()} == urls, "no churn"


@pytest.fixture
def house(db: None) -> Home:
    return make_home()


def approve(home: Home, relays: range) -> None:
    client = Keypair.generate()[0].public_key_hex
    names = "&".join(f"relay=wss%3A%2F%2Fr{number}.example.org" for number in relays)
    uri = NostrConnectUri.parse(f"nostrconnect://{client}?{names}&secret=0123456789abcdef")
    with scopes_disabled():
        services.approve_nostrconnect(
            actor=Actor.user(home.user), key=home.key, uri=uri, policy_slug="social", name="App"
        )


def test_one_persons_apps_name_a_bounded_number_of_relays(house: Home) -> None:
    for start in (0, 10, 5):
        approve(house, range(start, start + 10))
    with pytest.raises(InvalidConnection):
        approve(house, range(20, 30))
    approve(house, range(15, 25))  # on the five that are known
    with scopes_disabled():
        named = {url for relays in Connection.objects.values_list("relays", flat=True) for url in relays}
    assert named == {f"wss://r{number}.example.org" for number in range(20)}


def test_one_person_has_a_bounded_number_of_keys(house: Home, settings: Any) -> None:
    settings.KEYS_PER_USER = 3

    def create(actor: Actor) -> None:
        key_services.create_key(actor=actor, tenant=house.tenant, user=house.user, name="More")

    me = Actor.user(house.user)
    create(me)
    create(me)
    with pytest.raises(CustodyError) as refused:
        create(me)
    assert refused.value.code == "too-many-keys"
    create(Actor.command("operators are not bound"))
