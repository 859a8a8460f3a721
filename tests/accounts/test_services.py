"""Verbs of accounts: refusals, invariants, and that each leaves its audit row and its signal, or nothing at all."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.db import DatabaseError, connection, transaction
from django.test import TestCase
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts import services, signals
from accounts.errors import Conflict, InvalidValue, InvitationInvalid, LastOwner
from accounts.hosts import BadHost
from accounts.models import Invitation, Membership, Tenant, TenantDomain, User
from accounts.selectors import get_member, members_of, membership_of, pending_invitations, primary_host, tenants_of
from keycast.audit import writer
from keycast.audit.errors import AuditUnavailable
from keycast.audit.models import AuditRow
from keycast.audit.services import verify
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted

from .conftest import ACTOR, PASSWORD, MakeMember

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """What the apps above were told, and that they were told inside the transaction."""
    told: list[tuple[str, Any]] = []
    receivers = []
    for name in ("tenant_changed", "user_changed", "membership_changed"):

        def receive(sender: Any, *, object_id: Any, name: str = name, **_: Any) -> None:
            assert connection.in_atomic_block
            told.append((name, object_id))

        getattr(signals, name).connect(receive)
        receivers.append((getattr(signals, name), receive))
    yield told
    for signal, receive in receivers:
        signal.disconnect(receive)


def tags(chain: str) -> list[str]:
    return list(AuditRow.objects.filter(chain=chain).order_by("sequence").values_list("tag", flat=True))


@pytest.mark.parametrize(
    "wrong",
    [{"slug": "News"}, {"slug": "-a"}, {"slug": ""}, {"slug": "a" * 64}, {"name": " "}, {"name": "a\nb"},
     {"registration": "maybe"}, {"key_modes": ["paper"]}, {"key_modes": ["encrypted"], "default_key_mode": "hsm"}],
)  # fmt: skip
def test_a_tenant_that_cannot_be_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        services.create_tenant(**{"actor": ACTOR, "slug": "news", "name": "News", "host": "news.example", **wrong})
    assert not Tenant.objects.exists()
    assert not AuditRow.objects.exists()


def test_a_taken_slug_or_host_or_a_bad_host_makes_no_tenant(news: Tenant) -> None:
    with pytest.raises(Conflict):
        services.create_tenant(actor=ACTOR, slug="news", name="x", host="other.example")
    with pytest.raises(Conflict):
        services.create_tenant(actor=ACTOR, slug="other", name="x", host="NEWS.example.")
    with pytest.raises(BadHost):
        services.create_tenant(actor=ACTOR, slug="other", name="x", host="a b")
    assert Tenant.objects.count() == 1


def test_a_platform_host_belongs_to_no_tenant(settings: Any) -> None:
    settings.PLATFORM_HOSTS = ["staff.example"]
    with pytest.raises(Conflict):
        services.create_tenant(actor=ACTOR, slug="news", name="x", host="staff.example")


@pytest.mark.django_db(transaction=True)
def test_a_change_is_rolled_back_when_its_audit_row_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(writer, "_insert", fail)
    with pytest.raises(AuditUnavailable):
        services.create_tenant(actor=ACTOR, slug="news", name="News", host="news.example")
    with pytest.raises(AuditUnavailable):
        services.create_user(actor=ACTOR, email="a@example.org")
    assert not Tenant.objects.exists()
    assert not User.objects.exists()


def test_a_tenant_is_made_with_its_host_and_two_chains_know(news: Tenant) -> None:
    assert primary_host(news) == "news.example"
    assert tags(news.id.hex) == [AuditTag.TENANT_CREATED, AuditTag.DOMAIN_ADDED, AuditTag.DOMAIN_MADE_PRIMARY]
    assert tags("platform") == [AuditTag.TENANT_CREATED]
    assert news.key_modes == [settings.KEY_MODE]
    assert verify().is_intact


def test_locking_and_suspending_a_tenant_follows_its_states_and_tells(
    news: Tenant, heard: list[tuple[str, Any]]
) -> None:
    with pytest.raises(Conflict):
        services.unlock_tenant(actor=ACTOR, tenant=news)
    with pytest.raises(Conflict):
        services.resume_tenant(actor=ACTOR, tenant=news)
    assert services.lock_tenant(actor=ACTOR, tenant=news, reason="panic").state == "locked"
    with pytest.raises(Conflict):
        services.lock_tenant(actor=ACTOR, tenant=news)
    assert services.unlock_tenant(actor=ACTOR, tenant=news).state == "active"
    assert services.suspend_tenant(actor=ACTOR, tenant=news).state == "suspended"
    assert services.resume_tenant(actor=ACTOR, tenant=news).state == "active"
    assert heard == [("tenant_changed", news.id)] * 4
    assert tags(news.id.hex)[-4:] == [
        AuditTag.TENANT_LOCKED, AuditTag.TENANT_UNLOCKED, AuditTag.TENANT_SUSPENDED, AuditTag.TENANT_RESUMED,
    ]  # fmt: skip


def test_a_tenant_changes_only_in_what_may_change(news: Tenant) -> None:
    with pytest.raises(TypeError):
        services.change_tenant(actor=ACTOR, tenant=news, state="active")
    with pytest.raises(InvalidValue):
        services.change_tenant(actor=ACTOR, tenant=news, registration="maybe")
    assert services.change_tenant(actor=ACTOR, tenant=news, registration="open").registration == "open"


def test_host_names_are_verified_before_they_are_primary_and_the_primary_stays(news: Tenant) -> None:
    second = services.add_domain(actor=ACTOR, tenant=news, host="two.example")
    with pytest.raises(Conflict):
        services.make_domain_primary(actor=ACTOR, domain=second)
    services.verify_domain(actor=ACTOR, domain=second)
    services.make_domain_primary(actor=ACTOR, domain=second)
    assert primary_host(news) == "two.example"
    with pytest.raises(Conflict):
        services.remove_domain(actor=ACTOR, domain=second)
    with scopes_disabled():
        services.remove_domain(actor=ACTOR, domain=TenantDomain.objects.get(host="news.example"))
        assert TenantDomain.objects.count() == 1


@pytest.mark.parametrize("email", ["", "a", "a@b@c.example", "a@example.org\nbcc: b@example.org"])
def test_a_user_needs_an_address(email: str) -> None:
    with pytest.raises(InvalidValue):
        services.create_user(actor=ACTOR, email=email)


@pytest.mark.parametrize("password", ["short", "password123", "12345678901234"])
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(InvalidValue):
        services.create_user(actor=ACTOR, email="a@example.org", password=password)


def test_an_address_has_one_account_in_whatever_case(alice: User) -> None:
    with pytest.raises(Conflict):
        services.create_user(actor=ACTOR, email="ALICE@Example.org")


def test_locking_and_deactivating_a_user_tells_and_is_refused_twice(alice: User, heard: list[tuple[str, Any]]) -> None:
    assert services.lock_user(actor=ACTOR, user=alice).locked_at is not None
    with pytest.raises(Conflict):
        services.lock_user(actor=ACTOR, user=alice)
    assert services.unlock_user(actor=ACTOR, user=alice).locked_at is None
    with pytest.raises(Conflict):
        services.unlock_user(actor=ACTOR, user=alice)
    assert not services.deactivate_user(actor=ACTOR, user=alice).is_active
    with pytest.raises(Conflict):
        services.deactivate_user(actor=ACTOR, user=alice)
    assert services.reactivate_user(actor=ACTOR, user=alice).is_active
    assert services.make_staff(actor=ACTOR, user=alice).is_staff
    assert heard == [("user_changed", alice.id)] * 5
    assert tags("platform")[-5:] == [
        AuditTag.USER_LOCKED,
        AuditTag.USER_UNLOCKED,
        AuditTag.USER_DEACTIVATED,
        AuditTag.USER_REACTIVATED,
        AuditTag.USER_MADE_STAFF,
    ]


def test_a_password_appears_in_no_audit_row() -> None:
    services.create_user(actor=ACTOR, email="a@example.org", password=PASSWORD)
    assert not AuditRow.objects.filter(data__contains=PASSWORD).exists()


def test_the_last_owner_stays(make_member: MakeMember) -> None:
    owner, other = make_member("owner@example.org", "owner"), make_member("two@example.org", "owner")
    services.suspend_member(actor=ACTOR, membership=other, by=owner)
    for attempt in (
        lambda: services.change_role(actor=ACTOR, membership=owner, role="member", by=None),
        lambda: services.suspend_member(actor=ACTOR, membership=owner, by=None),
        lambda: services.remove_member(actor=ACTOR, membership=owner, by=None),
    ):
        with pytest.raises(LastOwner):
            attempt()


def test_members_are_changed_only_by_whoever_may(make_member: MakeMember, club: Tenant) -> None:
    owner, admin = make_member("owner@example.org", "owner"), make_member("admin@example.org", "admin")
    member, stranger = make_member("member@example.org"), make_member("stranger@example.org", "owner", club)
    with pytest.raises(NotPermitted):
        services.change_role(actor=ACTOR, membership=owner, role="member", by=admin)
    with pytest.raises(NotPermitted):
        services.change_role(actor=ACTOR, membership=member, role="owner", by=admin)
    with pytest.raises(NotPermitted):
        services.suspend_member(actor=ACTOR, membership=admin, by=member)
    with pytest.raises(NotFound):
        services.suspend_member(actor=ACTOR, membership=member, by=stranger)
    with pytest.raises(InvalidValue):
        services.change_role(actor=ACTOR, membership=member, role="king", by=owner)
    with pytest.raises(Conflict):
        services.resume_member(actor=ACTOR, membership=member, by=owner)
    with pytest.raises(Conflict):
        services.add_member(actor=ACTOR, tenant=member.tenant, user=member.user)


def test_a_member_is_suspended_resumed_promoted_and_removed(
    make_member: MakeMember, news: Tenant, heard: list[tuple[str, Any]]
) -> None:
    owner, member = make_member("owner@example.org", "owner"), make_member("member@example.org")
    heard.clear()
    services.suspend_member(actor=ACTOR, membership=member, by=owner)
    assert tenants_of(member.user) == []
    services.resume_member(actor=ACTOR, membership=member, by=owner)
    services.change_role(actor=ACTOR, membership=member, role="auditor", by=owner)
    assert get_member(news, member.id).role == "auditor"
    services.remove_member(actor=ACTOR, membership=member, by=owner)
    assert membership_of(member.user, news) is None
    assert heard == [("membership_changed", member.user_id)] * 4


def invite(tenant: Tenant, email: str = "new@example.org", **options: Any) -> str:
    """The token that the mail carries."""
    with TestCase.captureOnCommitCallbacks(execute=True):
        services.invite(**{"actor": ACTOR, "tenant": tenant, "email": email, "by": None, **options})
    return mail.outbox[-1].body.split("/account/invitation/")[1].split("/")[0]


def test_whoever_may_not_invites_nobody(make_member: MakeMember, news: Tenant) -> None:
    member, admin = make_member("member@example.org"), make_member("admin@example.org", "admin")
    with pytest.raises(NotPermitted):
        invite(news, by=member)
    with pytest.raises(NotPermitted):
        invite(news, by=admin, role="owner")
    with pytest.raises(Conflict):
        invite(news, email="Member@example.org")
    with pytest.raises(InvalidValue):
        invite(news, email="nobody")
    assert not mail.outbox


def test_an_invitation_that_is_not_committed_is_not_sent(news: Tenant) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True), pytest.raises(RuntimeError), transaction.atomic():
        services.invite(actor=ACTOR, tenant=news, email="new@example.org", by=None)
        raise RuntimeError
    assert not mail.outbox


def test_a_used_expired_or_withdrawn_invitation_is_refused(news: Tenant, club: Tenant) -> None:
    user = services.create_user(actor=ACTOR, email="new@example.org")
    first = invite(news)
    withdrawn = invite(news)  # a second invitation ends the first
    services.withdraw_invitation(actor=ACTOR, invitation=pending_invitations(news).get(), by=None)
    expired = invite(news)
    pending_invitations(news).update(expires_at=timezone.now() - datetime.timedelta(seconds=1))
    for token in (first, withdrawn, expired, "", "guess", "\ud800"):
        with pytest.raises(InvitationInvalid):
            services.accept_invitation(tenant=news, token=token, user=user)
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(tenant=club, token=invite(news), user=user)
    with scopes_disabled():
        assert not Membership.objects.exists()


def test_an_invitation_is_for_its_address_and_works_once(news: Tenant) -> None:
    eve, new = (services.create_user(actor=ACTOR, email=f"{name}@example.org") for name in ("eve", "new"))
    token = invite(news, role="auditor")
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(tenant=news, token=token, user=eve)
    assert services.accept_invitation(tenant=news, token=token, user=new).role == "auditor"
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(tenant=news, token=token, user=new)
    assert [member.user.email for member in members_of(news)] == ["new@example.org"]


def test_the_token_of_an_invitation_is_stored_nowhere(news: Tenant) -> None:
    token = invite(news)
    assert len(token) == 43
    with scopes_disabled():
        row = Invitation.objects.get()
    assert token.encode() not in bytes(row.token_hash)
    assert not AuditRow.objects.filter(data__contains=token).exists()


def test_a_withdrawn_invitation_cannot_be_withdrawn_again_nor_by_another_tenant(
    news: Tenant, club: Tenant, make_member: MakeMember
) -> None:
    invite(news)
    invitation = pending_invitations(news).get()
    with pytest.raises(NotFound):
        services.withdraw_invitation(actor=ACTOR, invitation=invitation, by=make_member("x@example.org", "owner", club))
    services.withdraw_invitation(actor=ACTOR, invitation=invitation, by=None)
    with pytest.raises(InvitationInvalid):
        services.withdraw_invitation(actor=ACTOR, invitation=invitation, by=None)
