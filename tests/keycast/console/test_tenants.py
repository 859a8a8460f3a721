"""Staff make tenants, set their limits and vouch for host names; nobody else does, and every deed is written down."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from accounts.errors import Conflict, InvalidValue
from accounts.hosts import BadHost
from accounts.models import Invitation, StaffRole, Tenant, TenantDomain, User
from accounts.services import found_tenant, set_quotas, vouch_for_domain
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotPermitted
from tests.keycast.console.conftest import World, prove_again, signed_in, staff

BODY = {
    "name": "The Club", "slug": "club", "host": "Club.Example.org", "owner": "owner@club.example",
    "registration": "invitation", "key_modes": ["encrypted"], "default_key_mode": "encrypted",
}  # fmt: skip


def address(name: str, tenant: Tenant | None = None) -> str:
    return reverse(f"admin:{name}", args=[tenant.pk] if tenant else [])


@pytest.fixture
def proved(operator: User, operator_client: Client) -> Client:
    prove_again(operator_client)
    return operator_client


@pytest.mark.parametrize("role", [StaffRole.AUDITOR, StaffRole.SUPPORT])
def test_roles_without_the_duty_neither_see_nor_do_it(role: StaffRole, world: World) -> None:
    person = staff(f"{role}@platform.test", role=role)
    client = signed_in(person)
    for page in ("tenant_new", "tenant_quotas", "tenant_host"):
        tenant = None if page == "tenant_new" else world.tenant
        assert client.get(address(page, tenant)).status_code == 403
        assert client.post(address(page, tenant), BODY).status_code == 403
    for action in (
        lambda: set_quotas(actor=Actor.staff(person), tenant=world.tenant, keys=1),
        lambda: vouch_for_domain(actor=Actor.staff(person), tenant=world.tenant, host="a.example.org"),
        lambda: found_tenant(
            actor=Actor.staff(person), owner="a@example.org", slug="a", name="A", host="a.example.org"
        ),
    ):
        with pytest.raises(NotPermitted):
            action()
    assert Tenant.objects.count() == 1


def test_members_set_no_limits_and_make_no_tenants(world: World) -> None:
    with pytest.raises(NotPermitted):
        set_quotas(actor=Actor.user(world.member), tenant=world.tenant, keys=1_000_000)
    with pytest.raises(NotPermitted):
        vouch_for_domain(actor=Actor.user(world.member), tenant=world.tenant, host="a.example.org")
    with pytest.raises(NotPermitted):
        found_tenant(actor=Actor.user(world.member), owner="a@example.org", slug="a", name="A", host="a.example.org")


def test_nothing_is_made_without_a_fresh_proof_and_what_was_typed_is_kept(
    operator: User, operator_client: Client, world: World
) -> None:
    answer = operator_client.post(address("tenant_new"), BODY)
    assert answer.status_code == 302
    assert "/account/" in answer["Location"]
    assert Tenant.objects.count() == 1
    prove_again(operator_client)
    assert b"club.example" in operator_client.get(address("tenant_new")).content


@pytest.mark.parametrize(
    "change",
    [
        {"slug": "news"}, {"slug": "Not A Slug"}, {"host": "news.test"}, {"host": "http://x"}, {"owner": "nobody"},
        {"name": ""}, {"registration": "all"}, {"key_modes": ["hsm"], "default_key_mode": "hsm"},
        {"key_modes": []}, {"host": "admin.test"},
    ],
)  # fmt: skip
def test_a_tenant_that_cannot_be_is_not_made(change: dict[str, Any], proved: Client, world: World) -> None:
    assert proved.post(address("tenant_new"), {**BODY, **change}).status_code == 200
    assert (Tenant.objects.count(), TenantDomain.objects.count(), Invitation.objects.count()) == (1, 1, 0)
    assert not mail.outbox


def test_a_tenant_is_made_its_owner_invited_and_both_written_down(
    proved: Client, world: World, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        extra = {"state": "locked", "max_keys": "5", "accent": "#ffffff"}
        assert proved.post(address("tenant_new"), {**BODY, **extra}).status_code == 302
    club = Tenant.objects.get(slug="club")
    assert (club.state, club.max_keys, club.accent) == ("active", None, "")
    domain = club.domains.get()
    assert (domain.host, domain.is_primary, domain.verified_at is not None) == ("club.example.org", True, True)
    invitation = Invitation.objects.get()
    assert (invitation.email, invitation.role) == ("owner@club.example", "owner")
    assert "club.example.org" in mail.outbox[0].body
    rows = AuditRow.objects.filter(chain=club.id.hex).order_by("id")
    assert [row.tag for row in rows] == [
        *("accounts:tenant:created", "accounts:domain:added", "accounts:domain:made-primary"),
        "accounts:invitation:sent",
    ]
    assert {row.actor_type for row in rows} == {"staff"}


def test_limits_are_set_shown_and_taken_back(proved: Client, world: World) -> None:
    page = address("tenant_quotas", world.tenant)
    assert proved.post(page, {"keys": "-1", "reason": "x"}).status_code == 200
    assert proved.post(page, {"keys": "5"}).status_code == 200  # without a reason
    assert proved.post(page, {"keys": "5", "signatures": "1000", "reason": "contract", "slug": "x"}).status_code == 302
    world.tenant.refresh_from_db()
    limits = (world.tenant.max_keys, world.tenant.max_signatures, world.tenant.max_members, world.tenant.slug)
    assert limits == (5, 1000, None, "news")
    shown = proved.get(reverse("admin:accounts_tenant_change", args=[world.tenant.pk])).content.decode()
    assert "Keys: 1 of 5" in shown
    assert proved.post(page, {"keys": "", "reason": "contract"}).status_code == 302
    world.tenant.refresh_from_db()
    assert world.tenant.max_keys is None
    row = AuditRow.objects.filter(tag="accounts:tenant:quotas-changed").latest("id")
    assert (row.actor_type, row.chain) == ("staff", world.tenant.id.hex)


def test_a_host_name_that_staff_vouch_for_is_served_claimed_before_or_not(proved: Client, world: World) -> None:
    page = address("tenant_host", world.tenant)
    for wrong in ("news.test", "admin.test", "a b"):
        assert proved.post(page, {"host": wrong, "reason": "asked by phone"}).status_code == 200
    claim = TenantDomain.objects.create(tenant=world.tenant, host="claimed.test", token="t")
    for host in ("claimed.test", "fresh.test"):
        assert proved.post(page, {"host": host, "reason": "asked by phone"}).status_code == 302
        assert Client(headers={"host": host}).get("/").status_code == 200
    claim.refresh_from_db()
    assert claim.token == ""


def test_tenant_actions_refuse_invalid_values(world: World) -> None:
    command = Actor.command("tenant")
    with pytest.raises(TypeError):
        set_quotas(actor=command, tenant=world.tenant, relics=1)
    with pytest.raises(InvalidValue):
        set_quotas(actor=command, tenant=world.tenant, keys=-1)
    with pytest.raises(BadHost):
        vouch_for_domain(actor=command, tenant=world.tenant, host="a b")
    with pytest.raises(Conflict):
        vouch_for_domain(actor=command, tenant=world.tenant, host="news.test")


def test_the_list_tells_people_keys_and_signatures(proved: Client, world: World) -> None:
    world.tenant.days.create(day="2001-01-01", signatures=77)
    page = proved.get(reverse("admin:accounts_tenant_changelist")).content.decode()
    assert 'class="field-people">1<' in page
    assert 'class="field-keys">1<' in page
    assert 'class="field-signatures_today">0<' in page
    assert reverse("admin:tenant_new") in page
