"""Locks above keys: one person is enough to lock, it takes two to unlock, and nobody lifts what stands above them."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts import services as people
from accounts.errors import Conflict, InvalidValue, OwnApprovalRequest
from accounts.models import LockAuthority, Role, StaffRole, Tenant, User
from accounts.models.panic import Release
from accounts.panic import services
from accounts.panic.health import locks
from accounts.panic.selectors import deployment_lock
from accounts.staff.approvals import services as approvals
from accounts.staff.approvals.errors import ApprovalRequired
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError, NotPermitted
from tests.keys.conftest import make_key, make_user

pytestmark = pytest.mark.django_db
OPERATOR = Actor.command("test")


@pytest.fixture(autouse=True)
def everything():
    with scopes_disabled():
        yield


@pytest.fixture
def tenant():
    return people.create_tenant(actor=OPERATOR, slug="press", name="Press", host="press.example")


def staff(role, email=None):
    return people.create_user(actor=OPERATOR, email=email or f"{role}@staff.example", is_staff=True, staff_role=role)


@pytest.fixture
def officers():
    return [Actor.staff(staff(StaffRole.SECURITY_OFFICER, f"officer{n}@staff.example")) for n in range(2)]


@pytest.fixture
def owner(tenant):
    return make_user(tenant, Role.OWNER)


@pytest.fixture
def admin(tenant):
    return make_user(tenant, Role.ADMIN)


@pytest.fixture
def member(tenant):
    return make_user(tenant)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


# The deployment


def test_members_auditors_and_support_cannot_lock_the_deployment(owner):
    for actor in (Actor.user(owner), *(Actor.staff(staff(role)) for role in (StaffRole.AUDITOR, StaffRole.SUPPORT))):
        with pytest.raises(NotPermitted):
            services.lock_deployment(actor=actor, reason="because")
    assert deployment_lock().locked_at is None


def test_a_lock_of_the_deployment_wants_a_reason_and_happens_once(officers):
    with pytest.raises(InvalidValue):
        services.lock_deployment(actor=officers[0], reason=" ")
    services.lock_deployment(actor=officers[0], reason="keys are leaking")
    with pytest.raises(Conflict):
        services.lock_deployment(actor=officers[1], reason="too")
    assert deployment_lock().reason == "keys are leaking"


def test_one_officer_locks_the_deployment_and_two_unlock_it(officers, django_capture_on_commit_callbacks):
    first, second = officers
    with django_capture_on_commit_callbacks(execute=True):
        services.lock_deployment(actor=first, reason="drill")
    assert {to for message in mail.outbox for to in message.to} == {"officer0@staff.example", "officer1@staff.example"}
    assert not locks().is_ok
    with pytest.raises(ApprovalRequired):
        services.unlock_deployment(actor=first, reason="over")
    asked = approvals.request_approval(actor=first, kind=services.UNLOCK_DEPLOYMENT, target_id="", reason="over")
    with pytest.raises(OwnApprovalRequest):
        approvals.approve(actor=first, approval=asked, reason="me")
    assert deployment_lock().locked_at is not None
    approvals.approve(actor=second, approval=asked, reason="seen")
    assert deployment_lock().locked_at is None
    assert locks().is_ok
    row = AuditRow.objects.get(tag=AuditTag.DEPLOYMENT_UNLOCKED)
    assert "officer0@staff.example" in row.data


def test_nothing_can_be_asked_for_while_the_deployment_is_not_locked(officers):
    with pytest.raises(KeycastError, match="not locked"):
        approvals.request_approval(actor=officers[0], kind=services.UNLOCK_DEPLOYMENT, target_id="", reason="over")


# One person


def test_an_owner_cannot_lock_another_member(owner, member):
    with pytest.raises(NotPermitted):
        people.lock_user(actor=Actor.user(owner), user=member)


def test_a_person_locks_themselves_but_does_not_unlock_themselves(member):
    people.lock_user(actor=Actor.user(member), user=member, reason="lost phone")
    assert fresh(member).locked_by == LockAuthority.OWNER
    with pytest.raises(NotPermitted):
        people.unlock_user(actor=Actor.user(member), user=member)
    assert fresh(member).locked_at is not None


def test_staff_unlock_a_person_by_two(member, officers):
    first, second = officers
    people.lock_user(actor=first, user=member, reason="abuse")
    with pytest.raises(ApprovalRequired):
        people.unlock_user(actor=first, user=member)
    asked = approvals.request_approval(actor=first, kind="unlock-user", target_id=member.id.hex, reason="cleared")
    approvals.approve(actor=second, approval=asked, reason="seen")
    assert fresh(member).locked_at is None


def test_staff_take_over_a_lock_and_members_cannot_lift_it_any_more(tenant, member, owner, officers):
    people.lock_user(actor=Actor.user(member), user=member)
    people.lock_user(actor=officers[0], user=member, reason="evidence")
    with pytest.raises(Conflict):
        people.lock_user(actor=Actor.user(member), user=member)
    with pytest.raises(NotPermitted, match="staff"):
        services.ask_release(actor=Actor.user(member), tenant=tenant, user=member, reason="please")


def test_a_person_is_unlocked_by_their_own_word_and_an_administrators(tenant, member, owner):
    people.lock_user(actor=Actor.user(member), user=member)
    release = services.ask_release(actor=Actor.user(member), tenant=tenant, user=member, reason="found it")
    with pytest.raises(NotPermitted):
        services.grant_release(actor=Actor.user(member), release=release)
    services.grant_release(actor=Actor.user(owner), release=release)
    assert fresh(member).locked_at is None
    assert AuditRow.objects.filter(tag=AuditTag.RELEASE_GRANTED).count() == 1
    with pytest.raises(Conflict):
        services.refuse_release(actor=Actor.user(owner), release=release)


def test_members_do_not_ask_for_others(tenant, member):
    other = make_user(tenant)
    people.lock_user(actor=Actor.user(other), user=other)
    with pytest.raises(NotPermitted):
        services.ask_release(actor=Actor.user(member), tenant=tenant, user=other, reason="please")


# A tenant


def test_a_member_cannot_lock_the_tenant_nor_an_owner_another_one(tenant, member, owner):
    elsewhere = people.create_tenant(actor=OPERATOR, slug="other", name="Other", host="other.example")
    for actor, target in ((member, tenant), (owner, elsewhere)):
        with pytest.raises(KeycastError):
            people.lock_tenant(actor=Actor.user(actor), tenant=target)
    assert not Tenant.objects.exclude(state=Tenant.State.ACTIVE).exists()


def test_owners_neither_unlock_alone_nor_suspend_nor_resume(tenant, owner):
    people.lock_tenant(actor=Actor.user(owner), tenant=tenant)
    for service in (people.unlock_tenant, people.suspend_tenant, people.resume_tenant):
        with pytest.raises(NotPermitted):
            service(actor=Actor.user(owner), tenant=tenant)
    assert fresh(tenant).state == Tenant.State.LOCKED


def test_a_tenant_locked_by_its_owner_is_unlocked_by_a_second_leader(tenant, owner, admin, member):
    people.lock_tenant(actor=Actor.user(owner), tenant=tenant)
    release = services.ask_release(actor=Actor.user(owner), tenant=tenant, reason="over")
    with pytest.raises(Conflict, match="already"):
        services.ask_release(actor=Actor.user(admin), tenant=tenant, reason="over")
    for actor in (owner, member):
        with pytest.raises(NotPermitted):
            services.grant_release(actor=Actor.user(actor), release=release)
    services.grant_release(actor=Actor.user(admin), release=release)
    assert fresh(tenant).state == Tenant.State.ACTIVE


def test_a_tenant_locked_on_the_server_is_not_lifted_from_the_portal(tenant, owner, admin):
    people.lock_tenant(actor=Actor.user(owner), tenant=tenant)
    release = services.ask_release(actor=Actor.user(owner), tenant=tenant, reason="over")
    people.lock_tenant(actor=OPERATOR, tenant=tenant, reason="court order")
    with pytest.raises(NotPermitted, match="operators"):
        services.grant_release(actor=Actor.user(admin), release=release)
    assert fresh(tenant).state == Tenant.State.LOCKED
    assert fresh(release).state == Release.State.OPEN


def test_requests_end_after_a_day_and_can_be_withdrawn(tenant, owner, admin):
    people.lock_tenant(actor=Actor.user(owner), tenant=tenant)
    old = services.ask_release(actor=Actor.user(owner), tenant=tenant, reason="over")
    Release.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Conflict):
        services.grant_release(actor=Actor.user(admin), release=old)
    assert services.open_releases(tenant) == []
    new = services.ask_release(actor=Actor.user(owner), tenant=tenant, reason="over")
    with pytest.raises(NotPermitted):
        services.withdraw_release(actor=Actor.user(admin), release=new)
    services.withdraw_release(actor=Actor.user(owner), release=new)
    assert services.expire_releases() == 0
    assert {row.state for row in Release.objects.all()} == {Release.State.EXPIRED, Release.State.WITHDRAWN}


# The command line


def panic(*arguments):
    out = io.StringIO()
    call_command("panic", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "deployment"),
        ("lock", "deployment", "all", "--reason", "x"),
        ("lock", "tenant", "nobody", "--reason", "x"),
        ("lock", "key", "npub1qqqq", "--reason", "x"),
        ("lock", "connection", "17", "--reason", "x"),
        ("lock", "user", "--reason", "x"),
    ],
)
def test_the_command_refuses_what_it_cannot_find_or_lacks_a_reason(arguments):
    with pytest.raises(CommandError) as refused:
        panic(*arguments)
    assert refused.value.returncode == 2


def test_the_command_says_what_the_services_refuse(tenant):
    with pytest.raises(CommandError, match="not locked") as refused:
        panic("unlock", "deployment", "--reason", "x")
    assert refused.value.returncode == 1


def test_the_command_locks_and_unlocks_at_every_level(tenant, member):
    key = make_key(member, tenant)
    targets = {"deployment": (), "tenant": ("press",), "user": (member.email,), "key": (key.public_key,)}
    for level, target in targets.items():
        panic("lock", level, *target, "--reason", "drill")
    status = panic("status")
    assert (status["deployment_locked"], status["tenants"], status["users"]) == (
        True,
        {"press": "locked"},
        [member.email],
    )
    for level, target in targets.items():
        panic("unlock", level, *target, "--reason", "over")
    status = panic("status")
    assert (status["deployment_locked"], status["tenants"], status["users"]) == (False, {}, [])
    assert not User.objects.exclude(locked_by="").exists()
