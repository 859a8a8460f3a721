"""Whatever their role: staff get no way to sign as somebody, in the admin, through services, or on a tenant's host."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import StaffRole, User
from accounts.services import create_user
from accounts.staff.roles import PERMISSIONS
from bunker.models import Connection
from bunker.services import approve_nostrconnect, create_bunker_url
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.nostr.uris import NostrConnectUri
from keys.models import PersonalKey
from tests.keycast.console.conftest import PLATFORM, World, add_second_factor, prove_again, signed_in, staff, world
from tests.keycast.console.pages import pages
from tests.portal.conftest import (
    _everything,
    bob,
    make_person,
    other_tenant,
    owner,
    sign_in,
    tenant,
    visitor,
)
from tests.portal.test_sweep import NAMES, PUBLIC, address, everything, form_of, victim_ids
from tests.rows import change

__all__ = ["_everything", "bob", "make_person", "other_tenant", "owner", "tenant", "victim_ids", "visitor", "world"]

TEACHES_SIGNING = ("bunker://", "nostrconnect://", "nsec1", "ncryptsec1")
COMMAND = Actor.command("tests")
URI = f"nostrconnect://{'ab' * 32}?relay=wss%3A%2F%2Frelay.example.com&secret=0123456789abcdef"


def colleague(role: StaffRole) -> User:
    user = create_user(actor=COMMAND, email=f"{role}@platform.test", is_staff=True, staff_role=role)
    add_second_factor(user)
    return user


@pytest.mark.parametrize("role", StaffRole)
@pytest.mark.parametrize("kind", ["staff", "user"])
def test_no_role_connects_an_app_to_anothers_key(role: StaffRole, kind: str, bob: Any) -> None:
    actor, key = getattr(Actor, kind)(colleague(role)), bob.key()
    with pytest.raises(KeycastError):
        create_bunker_url(actor=actor, key=key, policy_slug="full", name="mine")
    with pytest.raises(KeycastError):
        approve_nostrconnect(actor=actor, key=key, uri=NostrConnectUri.parse(URI), policy_slug="full", name="mine")
    assert not Connection.objects.exists()


def test_no_page_of_the_admin_makes_a_connection_or_shows_how_to(world: World, settings: Any) -> None:
    """As a security officer, who has every duty there is."""
    settings.PLATFORM_HOSTS = [PLATFORM]
    assert all(StaffRole.SECURITY_OFFICER in roles for roles in PERMISSIONS.values())
    walker = staff("walker@platform.test", role=StaffRole.SECURITY_OFFICER)
    client = signed_in(walker)
    prove_again(client)
    for page in pages(world, walker):
        if page.name == "logout":
            continue
        with transaction.atomic():
            answers = [client.get(page.address), client.post(page.address, {"reason": "drill", "term": "news"})]
            for answer in answers:
                text = b"" if answer.streaming else answer.content
                assert not [word for word in TEACHES_SIGNING if word.encode() in text], page
            assert Connection.objects.count() == 1, page
            assert PersonalKey.objects.filter(user=walker).count() == 0, page
            transaction.set_rollback(True)


@pytest.fixture
def platform_staff(tenant: Any) -> Client:
    """A security officer, second factor and all, signed in on a tenant's host without being a member there."""
    client = Client(headers={"host": "gazette.test"})
    officer = colleague(StaffRole.SECURITY_OFFICER)
    sign_in(client, officer, tenant)
    prove_again(client)
    return client


@pytest.mark.parametrize("method", ["get", "post"])
def test_on_a_tenants_host_staff_are_nobody(method: str, platform_staff: Client, victim_ids: dict[str, Any]) -> None:
    before = everything()
    for name in sorted(set(NAMES) - PUBLIC):
        answer = getattr(platform_staff, method)(address(name, victim_ids), form_of(victim_ids))
        assert answer.status_code in {403, 404, 405}, (name, answer.status_code)
        assert b"bob@example.org" not in answer.content, name
    assert everything() == before


def test_a_session_of_the_admin_is_worth_nothing_on_a_tenants_host(tenant: Any, bob: Any, settings: Any) -> None:
    settings.PLATFORM_HOSTS = [PLATFORM]
    client = signed_in(colleague(StaffRole.SECURITY_OFFICER))
    assert client.get("/admin/").status_code == 200
    answer = client.get("/keys/", headers={"host": "gazette.test"})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


@pytest.fixture
def both(tenant: Any, make_person: Any) -> Any:
    """A member of the tenant; the test makes them one of the staff too."""
    return make_person(tenant, "both@example.org")


def test_a_member_who_is_staff_has_the_rights_of_a_member_and_no_more(both: Any, victim_ids: dict[str, Any]) -> None:
    person = both
    change(person.user, is_staff=True, staff_role=StaffRole.SECURITY_OFFICER)
    before = everything()
    for name in ("keys:detail", "apps:detail"):
        assert person.browser.get(address(name, victim_ids)).status_code == 404
    assert person.browser.get("/people/").status_code == 403
    assert everything() == before
