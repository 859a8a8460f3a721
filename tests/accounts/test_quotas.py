"""Limits of a tenant: refused at the point of use, by the service, with words for whoever can act."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client, override_settings
from django_scopes import scopes_disabled

from accounts.errors import InvitationInvalid
from accounts.models import Invitation, Membership, Tenant, User
from accounts.quotas import Quota, QuotaReached, limit_of, require_room, usage_of
from accounts.services import (
    accept_invitation,
    add_member,
    change_role,
    create_user,
    invite,
    remove_member,
    set_quotas,
    suspend_member,
)
from accounts.services.invitations import find_invitation
from bunker.services import create_bunker_url
from keycast.audit.entries import Actor
from keys.services import create_key
from tests.rows import change

from .conftest import ACTOR, PASSWORD, MakeMember

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_all_tenants() -> Iterator[None]:
    with scopes_disabled():
        yield


def bounded(tenant: Tenant, **limits: int) -> Tenant:
    return set_quotas(actor=ACTOR, tenant=tenant, **limits)


@override_settings(TENANT_QUOTAS={"members": 7})
def test_a_tenants_own_limit_goes_before_the_deployments(news: Tenant) -> None:
    assert limit_of(news, Quota.MEMBERS) == 7
    assert limit_of(news, Quota.KEYS) is None
    assert limit_of(bounded(news, members=0), Quota.MEMBERS) == 0


def test_no_more_people_than_the_limit_neither_added_nor_invited(
    news: Tenant, make_member: MakeMember, django_capture_on_commit_callbacks: Any
) -> None:
    owner = make_member("owner@example.org", "owner")
    bounded(news, members=2)
    invite(actor=ACTOR, tenant=news, email="one@example.org", by=owner)
    with pytest.raises(QuotaReached, match="ask the operator"):
        invite(actor=ACTOR, tenant=news, email="two@example.org", by=owner)
    make_member("second@example.org")
    with pytest.raises(QuotaReached):
        make_member("third@example.org")


def test_an_invitation_from_before_waits_while_the_place_is_full(news: Tenant, make_member: MakeMember) -> None:
    person = create_user(actor=ACTOR, email="late@example.org", password=PASSWORD)
    token = "t" * 43
    from accounts.services.invitations import token_hash

    invitation = invite(actor=ACTOR, tenant=news, email="late@example.org", by=None)
    change(invitation, token_hash=token_hash(token))
    bounded(news, members=0)
    with pytest.raises(QuotaReached):
        accept_invitation(tenant=news, token=token, user=person)
    bounded(news, members=5)
    assert accept_invitation(tenant=news, token=token, user=person).role == "member"


def test_a_full_open_place_takes_nobody_and_says_so(club: Tenant) -> None:
    bounded(club, members=0)
    browser = Client(headers={"host": "club.example"})
    page = browser.get("/account/signup/").content.decode()
    assert 'name="password1"' not in page
    create_user(actor=ACTOR, email="known@example.org", password=PASSWORD)
    answer = browser.post("/account/login/", {"login": "known@example.org", "password": PASSWORD}, follow=True)
    assert answer.status_code in {200, 403}
    assert not Membership.objects.filter(tenant=club).exists()


def test_no_more_keys_and_apps_than_the_limit(news: Tenant, make_member: MakeMember) -> None:
    user = make_member("a@example.org").user
    key = create_key(actor=Actor.user(user), tenant=news, user=user, name="One")
    bounded(news, keys=1, apps=1)
    news.refresh_from_db()
    with pytest.raises(QuotaReached):
        create_key(actor=Actor.user(user), tenant=news, user=user, name="Two")
    key.refresh_from_db()
    create_bunker_url(actor=Actor.user(user), key=key, policy_slug="social", name="App")
    with pytest.raises(QuotaReached):
        create_bunker_url(actor=Actor.user(user), key=key, policy_slug="social", name="App")
    used = {usage.quota: (usage.used, usage.limit, usage.level) for usage in usage_of(news)}
    assert used[Quota.KEYS] == (1, 1, "full")
    assert used[Quota.APPS] == (1, 1, "full")
    assert used[Quota.SIGNATURES] == (0, None, "fine")


@pytest.mark.django_db(transaction=True)
def test_the_last_place_is_taken_once_however_many_try(news: Tenant) -> None:
    bounded(news, members=1)
    people = [create_user(actor=ACTOR, email=f"p{number}@example.org") for number in range(6)]
    outcomes: list[str] = []

    def join(user: User) -> None:
        try:
            add_member(actor=ACTOR, tenant=Tenant.objects.get(id=news.id), user=user)
            outcomes.append("in")
        except QuotaReached:
            outcomes.append("full")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=join, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["full"] * 5 + ["in"]


def test_without_a_limit_no_row_is_locked(news: Tenant, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        require_room(news, Quota.MEMBERS)
    assert connection.in_atomic_block


# What a demoted administrator had sent


def sent_by(make_member: MakeMember, role: str = "member") -> tuple[Membership, Invitation]:
    admin = make_member("admin@example.org", "admin")
    return admin, invite(actor=ACTOR, tenant=admin.tenant, email="friend@example.org", by=admin, role=role)


@pytest.mark.parametrize("end", ["demoted", "suspended", "removed"])
def test_invitations_of_somebody_who_may_not_invite_any_more_are_worth_nothing(
    end: str, make_member: MakeMember
) -> None:
    admin, invitation = sent_by(make_member)
    if end == "demoted":
        change_role(actor=ACTOR, membership=admin, role="member", by=None)
    elif end == "suspended":
        suspend_member(actor=ACTOR, membership=admin, by=None)
    else:
        remove_member(actor=ACTOR, membership=admin, by=None)
    invitation.refresh_from_db()
    assert invitation.withdrawn_at is not None


def test_an_owners_offer_of_ownership_ends_with_their_own_but_plain_ones_stay(make_member: MakeMember) -> None:
    make_member("first@example.org", "owner")
    owner = make_member("owner@example.org", "owner")
    great = invite(actor=ACTOR, tenant=owner.tenant, email="a@example.org", by=owner, role="owner")
    plain = invite(actor=ACTOR, tenant=owner.tenant, email="b@example.org", by=owner)
    change_role(actor=ACTOR, membership=owner, role="admin", by=None)
    for invitation in (great, plain):
        invitation.refresh_from_db()
    assert (great.withdrawn_at is not None, plain.withdrawn_at) == (True, None)


def test_an_invitation_is_worth_nothing_while_its_sender_is_deactivated(make_member: MakeMember) -> None:
    from accounts.services.invitations import token_hash

    admin, invitation = sent_by(make_member)
    change(invitation, token_hash=token_hash("t" * 43))
    change(admin.user, is_active=False)
    assert find_invitation(tenant=admin.tenant, token="t" * 43) is None
    friend = create_user(actor=ACTOR, email="friend@example.org")
    with pytest.raises(InvitationInvalid):
        accept_invitation(tenant=admin.tenant, token="t" * 43, user=friend)
    change(admin.user, is_active=True)
    assert find_invitation(tenant=admin.tenant, token="t" * 43) is not None
