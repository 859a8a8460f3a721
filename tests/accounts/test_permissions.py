"""The permission table: whoever is not named may not; other tenants' things do not even exist."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest

from accounts.account_seals import MEMBERSHIP
from accounts.models import Membership, Role, Tenant, User
from accounts.permissions import MemberPermission, PermissionGranted, PermissionRefused, can, decide, require
from keycast.base.errors import NotFound, NotPermitted

TENANT, OTHER = Tenant(slug="news"), Tenant(slug="club")
A, V = MemberPermission, list(Role)
ALLOWED = {
    # action: (roles with their own thing, roles with another member's)
    A.VIEW_KEY: ({"owner", "admin", "member", "auditor"}, {"owner", "admin", "auditor"}),
    A.CREATE_KEY: ({"owner", "admin", "member"}, set()),
    A.MANAGE_KEY: ({"owner", "admin", "member"}, set()),
    A.LOCK_KEY: ({"owner", "admin", "member"}, {"owner", "admin"}),
    A.CONNECT_APP: ({"owner", "admin", "member"}, set()),
    A.VIEW_CONNECTION: ({"owner", "admin", "member", "auditor"}, {"owner", "admin", "auditor"}),
    A.MANAGE_CONNECTION: ({"owner", "admin", "member"}, set()),
    A.REVOKE_CONNECTION: ({"owner", "admin", "member", "auditor"}, {"owner", "admin"}),
}
LEADERS_ONLY = [A.INVITE, A.CHANGE_ROLE, A.SUSPEND_MEMBER, A.REMOVE_MEMBER, A.CHANGE_TENANT, A.LOCK_TENANT]


def member(role: str = "member", tenant: Tenant = TENANT, **fields: object) -> Membership:
    user = User(email=f"{uuid4()}@example.org", is_active=bool(fields.pop("is_active", True)))
    membership = Membership(tenant=tenant, user=user, role=role, **fields)
    membership.seal = MEMBERSHIP.of(membership)
    return membership


def key_of(owner: Membership) -> SimpleNamespace:
    return SimpleNamespace(tenant_id=owner.tenant_id, user_id=owner.user_id)


@pytest.mark.parametrize("action", A)
def test_nobody_may_do_anything_without_an_active_membership_of_an_open_tenant(action: MemberPermission) -> None:
    closed = Tenant(slug="x", state=Tenant.State.SUSPENDED)
    for nobody in (None, member("owner", state="suspended"), member("owner", is_active=False), member("owner", closed)):
        assert isinstance(decide(nobody, action), PermissionRefused)


@pytest.mark.parametrize("action", A)
@pytest.mark.parametrize("role", V)
def test_things_of_another_tenant_do_not_exist(action: MemberPermission, role: str) -> None:
    for thing in (key_of(member(tenant=OTHER)), member("owner", OTHER), member("member", OTHER)):
        with pytest.raises(NotFound):
            require(member(role), action, thing)


@pytest.mark.parametrize("role", V)
@pytest.mark.parametrize("action", ALLOWED)
def test_keys_and_connections_follow_the_table(action: MemberPermission, role: str) -> None:
    me, own, others = member(role), *ALLOWED[action]
    assert can(me, action, key_of(me)) is (role in own)
    assert can(me, action, key_of(member())) is (role in others)
    connection = SimpleNamespace(tenant_id=TENANT.id, key=key_of(member()))
    assert can(me, action, connection) is (role in others)


def test_a_member_does_not_learn_that_another_members_key_exists() -> None:
    with pytest.raises(NotFound):
        require(member(), A.VIEW_KEY, key_of(member()))
    with pytest.raises(NotPermitted):
        require(member("auditor"), A.MANAGE_KEY, key_of(member()))


@pytest.mark.parametrize("action", LEADERS_ONLY)
def test_only_owners_and_administrators_manage_people_and_settings(action: MemberPermission) -> None:
    assert {role for role in V if can(member(role), action)} == {"owner", "admin"}


def test_auditors_read_and_members_do_not() -> None:
    assert {role for role in V if can(member(role), A.VIEW_AUDIT)} == {"owner", "admin", "auditor"}


@pytest.mark.parametrize("action", [A.CHANGE_ROLE, A.SUSPEND_MEMBER, A.REMOVE_MEMBER])
def test_nobody_changes_their_own_membership_and_only_owners_change_owners(action: MemberPermission) -> None:
    owner, admin = member("owner"), member("admin")
    assert not can(owner, action, owner)
    assert not can(admin, action, owner)
    assert not can(admin, action, Role.OWNER)
    assert can(owner, action, member("owner"))
    assert can(owner, action, Role.OWNER)
    assert can(admin, action, member("auditor"))
    assert isinstance(decide(admin, action, member("member")), PermissionGranted)


def test_every_action_is_in_the_table() -> None:
    assert {action for action in A if not can(member("owner"), action)} == set()
