"""Two tenants, people in them, their keys and apps: what the portal's tests are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from django.core.cache import cache
from django.test import Client
from django_scopes import scopes_disabled

from accounts.middleware import SESSION_TENANT
from accounts.models import Membership, Role, Tenant, User
from accounts.services.members import add_member
from accounts.services.tenants import create_tenant
from accounts.services.users import create_user
from bunker.models import Connection
from bunker.services import create_bunker_url
from keycast.audit.entries import Actor
from keys.models import PersonalKey
from keys.services import create_key

PASSWORD = "correct horse battery"
OPERATOR = Actor.command("tests")


@dataclass
class Person:
    """A member with a signed-in browser."""

    user: User
    tenant: Tenant
    browser: Client

    @property
    def actor(self) -> Actor:
        return Actor.user(self.user)

    def key(self, name: str = "Main") -> PersonalKey:
        return create_key(actor=self.actor, tenant=self.tenant, user=self.user, name=name)

    def app(self, key: PersonalKey | None = None, name: str = "Damus on my phone") -> Connection:
        issued = create_bunker_url(actor=self.actor, key=key or self.key(), policy_slug="social", name=name)
        return issued.connection


@pytest.fixture(autouse=True)
def _everything(db: None, settings: object) -> Iterator[None]:
    cache.clear()
    with scopes_disabled():
        yield


@pytest.fixture
def tenant() -> Tenant:
    return create_tenant(actor=OPERATOR, slug="gazette", name="The Gazette", host="gazette.test", registration="open")


@pytest.fixture
def other_tenant() -> Tenant:
    return create_tenant(actor=OPERATOR, slug="courier", name="The Courier", host="courier.test")


@pytest.fixture
def visitor(tenant: Tenant) -> Client:
    return Client(headers={"host": "gazette.test"})


def sign_in(browser: Client, user: User, tenant: Tenant) -> None:
    """A session as signing in on the tenant's own host makes it (accounts.middleware)."""
    browser.force_login(user)
    session = browser.session
    session[SESSION_TENANT] = tenant.id.hex
    session.save()


MakePerson = Callable[..., Person]


@pytest.fixture
def make_person() -> MakePerson:
    def make(tenant: Tenant, email: str, role: str = Role.MEMBER, *, is_member: bool = True) -> Person:
        user = create_user(actor=OPERATOR, email=email, password=PASSWORD)
        if is_member:
            add_member(actor=OPERATOR, tenant=tenant, user=user, role=role)
        browser = Client(headers={"host": tenant.domains.get(is_primary=True).host})
        sign_in(browser, user, tenant)
        return Person(user, tenant, browser)

    return make


@pytest.fixture
def ada(tenant: Tenant, make_person: MakePerson) -> Person:
    return make_person(tenant, "ada@example.org")


@pytest.fixture
def bob(tenant: Tenant, make_person: MakePerson) -> Person:
    return make_person(tenant, "bob@example.org")


@pytest.fixture
def owner(tenant: Tenant, make_person: MakePerson) -> Person:
    return make_person(tenant, "owner@example.org", Role.OWNER)


@pytest.fixture
def foreign_owner(other_tenant: Tenant, make_person: MakePerson) -> Person:
    return make_person(other_tenant, "eve@example.org", Role.OWNER)


@pytest.fixture
def outsider(tenant: Tenant, make_person: MakePerson) -> Person:
    return make_person(tenant, "outsider@example.org", is_member=False)


@pytest.fixture
def suspended(tenant: Tenant, make_person: MakePerson) -> Person:
    person = make_person(tenant, "gone@example.org")
    Membership.objects.filter(user=person.user).update(state="suspended")
    return person
