"""What a tenant offers and may have, where connections begin: policies and relays."""

from __future__ import annotations

import pytest

from accounts.errors import InvalidValue
from accounts.quotas import Quota, QuotaReached, used
from accounts.services import change_tenant, set_quotas
from bunker.errors import InvalidConnection, PolicyNotOffered
from bunker.models import Connection
from bunker.services import approve_nostrconnect, checked_relays, default_policy_of, policies_of, relays_for
from bunker.services.tenants import own_relays
from keycast.crypto.schnorr import Keypair
from keycast.nostr.uris import NostrConnectUri
from tests.bunker.services.conftest import COMMAND, House


def approve(house: House, *relays: str, policy: str = "social") -> Connection:
    client = Keypair.generate()[0].public_key_hex
    uri = NostrConnectUri(client_public_key=client, relays=relays, secret="s" * 16)
    return approve_nostrconnect(actor=house.actor, key=house.key, uri=uri, policy_slug=policy)


def narrowed(house: House, *policies: str) -> None:
    change_tenant(actor=COMMAND, tenant=house.tenant, policies=list(policies))
    house.tenant.refresh_from_db()
    house.key.refresh_from_db()


def test_a_policy_that_is_not_offered_is_refused_on_every_way_in(house: House) -> None:
    narrowed(house, "read-only")
    with pytest.raises(PolicyNotOffered):
        house.issue(policy_slug="full")
    with pytest.raises(PolicyNotOffered):
        approve(house, "wss://relay.example.org", policy="social")
    assert not Connection.objects.exists()
    assert house.issue(policy_slug="read-only").connection.policy_slug == "read-only"


def test_an_operator_may_grant_what_is_not_offered(house: House) -> None:
    narrowed(house, "read-only")
    assert house.issue(actor=COMMAND, policy_slug="full").connection.policy_slug == "full"


def test_the_first_policy_is_the_tenants_if_it_offers_it(house: House) -> None:
    assert default_policy_of(house.tenant) == "social"
    narrowed(house, "messaging", "read-only")
    assert [template.slug for template in policies_of(house.tenant)] == ["read-only", "messaging"]
    assert default_policy_of(house.tenant) == "read-only"
    change_tenant(actor=COMMAND, tenant=house.tenant, default_policy="messaging")
    house.tenant.refresh_from_db()
    assert default_policy_of(house.tenant) == "messaging"
    with pytest.raises(InvalidValue):
        change_tenant(actor=COMMAND, tenant=house.tenant, policies=["read-only"])


def test_relays_of_apps_count_once_and_end_at_the_tenants_limit(house: House) -> None:
    set_quotas(actor=COMMAND, tenant=house.tenant, relays=2)
    approve(house, "wss://one.example.org", "wss://two.example.org", "wss://press.example/relay")
    assert used(house.tenant, Quota.RELAYS) == 2
    approve(house, "wss://two.example.org")
    with pytest.raises(QuotaReached, match="2 relays of its own"):
        approve(house, "wss://three.example.org")
    set_quotas(actor=COMMAND, tenant=house.tenant, relays=1)
    approve(house, "wss://one.example.org")  # known already, so nothing more is connected to


def test_an_app_with_one_relay_too_many_is_let_in_on_the_others(house: House) -> None:
    set_quotas(actor=COMMAND, tenant=house.tenant, relays=2)
    approve(house, "wss://one.example.org")
    connection = approve(house, "wss://two.example.org", "wss://three.example.org", "wss://one.example.org")
    assert connection.relays == ["wss://two.example.org", "wss://one.example.org"]
    assert own_relays(house.tenant) == {"wss://one.example.org", "wss://two.example.org"}


def test_a_person_with_many_relays_lets_an_app_in_on_one_that_is_known(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bunker.services.common.MAX_RELAYS_OF_A_PERSON", 2)
    approve(house, "wss://one.example.org", "wss://two.example.org")
    with pytest.raises(InvalidConnection, match="too many different relays"):
        approve(house, "wss://three.example.org")
    assert approve(house, "wss://three.example.org", "wss://two.example.org").relays == ["wss://two.example.org"]


def test_relays_of_the_deployment_count_for_nobody(house: House, settings: pytest.FixtureRequest) -> None:
    settings.OUTBOUND_RELAYS = ["wss://ours.example.org"]  # type: ignore[attr-defined]
    set_quotas(actor=COMMAND, tenant=house.tenant, relays=0)
    assert "wss://ours.example.org" in approve(house, "wss://ours.example.org").relays
    assert own_relays(house.tenant) == set()


def test_the_tenants_relays_stand_between_the_built_in_one_and_the_deployments(
    house: House, settings: pytest.FixtureRequest
) -> None:
    settings.OUTBOUND_RELAYS = ["wss://ours.example.org"]  # type: ignore[attr-defined]
    change_tenant(actor=COMMAND, tenant=house.tenant, relays=["wss://theirs.example.org"])
    house.tenant.refresh_from_db()
    urls = relays_for(house.tenant)
    assert urls[0].startswith("ws")
    assert urls[1:] == ["wss://theirs.example.org", "wss://ours.example.org"]


@pytest.mark.parametrize(
    "url", ["", "x", "wss://10.0.0.1", "ws://r.example.org", "wss://r.example.org:99", "wss://[::1]"]
)
def test_a_relay_that_could_never_be_connected_to_is_refused(house: House, url: str) -> None:
    with pytest.raises(InvalidValue):
        checked_relays([url])
    with pytest.raises(InvalidValue):
        change_tenant(actor=COMMAND, tenant=house.tenant, relays=[url])
