"""Support looks at one tenant or person: with a reason, for an hour, on record, and known to those it concerns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.middleware import SESSION_TENANT
from accounts.models import Membership, Role, StaffRole, SupportView, Tenant, TenantDomain, User
from accounts.support.services import close_view, open_view, view_in_force
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError, NotFound, NotPermitted
from tests.keycast.console.conftest import NPUB, World, signed_in, staff
from tests.rows import change

SUPPORT = "/admin/support/"


@pytest.fixture
def helper(world: World) -> User:
    return staff("helper@platform.test", role=StaffRole.SUPPORT)


@pytest.fixture
def client(helper: User) -> Client:
    return signed_in(helper)


def look(client: Client, term: str, reason: str = "ticket 4711") -> Any:
    return client.post(SUPPORT, {"term": term, "reason": reason})


# --- the refusals ---


@pytest.mark.parametrize(
    "term", ["", "nobody@news.test", "member", "member@", "new", "%", "npub1nonsense", "f" * 64, "elsewhere.test"]
)
def test_who_is_not_named_in_full_is_not_found(term: str, client: Client) -> None:
    assert look(client, term).status_code == 200
    assert not SupportView.objects.exists()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_nothing_is_seen_without_a_reason(reason: str, client: Client, world: World) -> None:
    answer = look(client, "news", reason)
    assert answer.status_code == 200
    assert not SupportView.objects.exists()
    assert not AuditRow.objects.filter(tag=AuditTag.STAFF_VIEWED_TENANT).exists()


def test_auditors_open_none(world: World) -> None:
    assert look(signed_in(staff("au@platform.test", role=StaffRole.AUDITOR)), "news").status_code == 403


@pytest.mark.parametrize("actor", [Actor.system("jobs"), Actor.command("x"), Actor.client("ab" * 32)])
def test_only_staff_can_open_a_support_view(actor: Actor, world: World) -> None:
    with pytest.raises(NotPermitted):
        open_view(actor=actor, tenant=world.tenant, reason="x")


def test_a_support_view_is_of_exactly_one_tenant_or_person(helper: User, world: World) -> None:
    for subjects in ({}, {"tenant": world.tenant, "person": world.member}):
        with pytest.raises(KeycastError):
            open_view(actor=Actor.staff(helper), reason="x", **subjects)


def test_colleagues_are_not_looked_at(client: Client, operator: User) -> None:
    assert "Colleagues are not looked at" in look(client, operator.email).content.decode()


def test_a_view_is_for_whoever_opened_it(client: Client, world: World) -> None:
    address = look(client, "news")["Location"]
    other = signed_in(staff("other@platform.test", role=StaffRole.SUPPORT))
    assert other.get(address).status_code == 404
    assert other.post(f"{address}close/").status_code == 404
    assert client.get(address).status_code == 200


def test_a_view_ends_by_itself_and_when_it_is_closed(helper: User, client: Client, world: World) -> None:
    address = look(client, "news")["Location"]
    view = SupportView.objects.get()
    assert view.closes_at - view.opened_at <= timedelta(minutes=60, seconds=1)
    SupportView.objects.update(closes_at=timezone.now())
    assert client.get(address).status_code == 404
    address = look(client, "news")["Location"]
    client.post(f"{address}close/")
    assert client.get(address).status_code == 404
    assert "closed already" in client.post(f"{address}close/", follow=True).content.decode()
    with pytest.raises(NotFound):
        view_in_force(actor=Actor.staff(helper), view_id=SupportView.objects.latest("opened_at").pk)


def test_a_support_view_ends_with_the_support_role(helper: User, client: Client, world: World) -> None:
    address = look(client, "news")["Location"]
    change(helper, staff_role=StaffRole.AUDITOR)
    assert client.get(address).status_code == 403


def test_support_reaches_no_other_page(client: Client, world: World) -> None:
    look(client, "member@news.test")
    for address in (
        f"/admin/accounts/user/{world.member.pk}/change/",
        f"/admin/keys/personalkey/{world.key.pk}/change/",
        "/admin/accounts/tenant/",
        "/admin/audit/auditrow/",
        "/admin/accounts/approval/",
    ):
        assert client.get(address).status_code == 403


# --- what is seen ---


@pytest.mark.parametrize("term", ["member@news.test", "MEMBER@news.test ", NPUB])
def test_a_person_is_found_by_address_and_npub(term: str, client: Client, world: World) -> None:
    page = client.get(look(client, term)["Location"]).content.decode()
    for text in ("member@news.test", "Main", "npub10elfcs", "Reader", "News", "ticket 4711"):
        assert text in page
    assert "/do/" not in page


@pytest.mark.parametrize("term", ["news", "news.test", "NEWS"])
def test_a_tenant_is_found_by_slug_and_host(term: str, client: Client, world: World) -> None:
    page = client.get(look(client, term)["Location"]).content.decode()
    for text in ("News (news)", "news.test", "1 active"):
        assert text in page
    assert "member@news.test" not in page


def test_a_view_costs_a_fixed_number_of_queries(
    client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    address = look(client, "member@news.test")["Location"]
    with django_assert_max_num_queries(20):
        client.get(address)


# --- who hears of it ---


def test_it_is_in_the_tenants_log_and_the_platforms_with_its_reason(helper: User, client: Client, world: World) -> None:
    look(client, "member@news.test")
    rows = AuditRow.objects.filter(tag=AuditTag.STAFF_VIEWED_TENANT)
    assert {row.chain for row in rows} == {"platform", world.tenant.pk.hex}
    for row in rows:
        assert (row.actor_type, row.actor_id) == ("staff", helper.pk.hex)
        assert "ticket 4711" in row.data
        assert world.member.pk.hex in row.data
    close_view(actor=Actor.staff(helper), view=SupportView.objects.get())
    assert AuditRow.objects.filter(tag=AuditTag.SUPPORT_VIEW_CLOSED).count() == 2


def portal(user: User, tenant: Tenant) -> str:
    browser = Client(headers={"host": TenantDomain.objects.filter(tenant=tenant).first().host})  # type: ignore[union-attr]
    browser.force_login(user)
    session = browser.session
    session[SESSION_TENANT] = tenant.pk.hex
    session.save()
    return browser.get("/security/").content.decode()


def member_of(tenant: Tenant, email: str, role: Role = Role.MEMBER) -> User:
    user = User.objects.create_user(email)
    Membership.objects.create(tenant=tenant, user=user, role=role)
    return user


def test_the_person_and_the_owners_see_who_looked_and_why(client: Client, world: World) -> None:
    owner = member_of(world.tenant, "owner@news.test", Role.OWNER)
    other = member_of(world.tenant, "other@news.test")
    elsewhere = Tenant.objects.create(slug="club", name="Club")
    TenantDomain.objects.create(tenant=elsewhere, host="club.test", is_primary=True, verified_at=timezone.now())
    stranger = member_of(elsewhere, "stranger@club.test", Role.OWNER)
    assert "No support view of your account" in portal(world.member, world.tenant)
    look(client, "member@news.test", "ticket 1")
    look(client, "news", "ticket 2")
    page = portal(world.member, world.tenant)
    assert "helper@platform.test looked at" in page
    assert "ticket 1" in page
    assert "ticket 2" not in page
    page = portal(owner, world.tenant)
    assert "ticket 1" in page
    assert "ticket 2" in page
    for user, tenant in ((other, world.tenant), (stranger, elsewhere)):
        assert "ticket" not in portal(user, tenant)
