"""Making and ending staff: two persons from the admin, the command line for the first ones, and roles that hold."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.errors import Conflict, InvalidValue
from accounts.models import Invitation, StaffRole, Tenant, User
from accounts.services import (
    add_member,
    change_role,
    change_staff_role,
    create_user,
    deactivate_user,
    end_staff,
    invite,
    lock_tenant,
    lock_user,
    make_staff,
    reactivate_user,
    remove_member,
    resume_member,
    resume_tenant,
    suspend_member,
    suspend_tenant,
    unlock_tenant,
    unlock_user,
)
from accounts.staff.approvals.errors import ApprovalRequired
from accounts.staff.approvals.services import approve, request_approval
from accounts.staff.health import officers
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted
from tests.accounts.conftest import ACTOR
from tests.rows import change

OFFICER, OPERATOR = StaffRole.SECURITY_OFFICER, StaffRole.OPERATOR


def colleague(name: str, role: StaffRole = OPERATOR, *, factor: bool = True) -> User:
    user = create_user(actor=ACTOR, email=f"{name}@platform.test", is_staff=True, staff_role=role)
    if factor:
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    return user


@pytest.fixture
def officer(db: None) -> User:
    return colleague("officer", OFFICER)


@pytest.fixture
def second(db: None) -> User:
    return colleague("second", OFFICER)


@pytest.fixture
def operator(db: None) -> User:
    return colleague("operator")


# --- making staff ---


@pytest.mark.parametrize("role", StaffRole)
def test_no_role_makes_staff_alone(role: StaffRole, alice: User) -> None:
    actor = Actor.staff(colleague("maker", role))
    for attempt in (
        lambda: make_staff(actor=actor, user=alice, role=OFFICER),
        lambda: change_staff_role(actor=actor, user=colleague("colleague"), role=OFFICER),
        lambda: create_user(actor=actor, email="puppet@platform.test", is_staff=True, staff_role=OFFICER),
    ):
        with pytest.raises(NotPermitted):
            attempt()
    assert not User.objects.filter(email="puppet@platform.test").exists()
    assert not User.objects.get(pk=alice.pk).is_staff


def test_one_officer_asks_and_another_makes_staff(officer: User, second: User, alice: User) -> None:
    request = request_approval(
        actor=Actor.staff(officer),
        kind="set-staff-role",
        target_id=alice.pk.hex,
        parameters={"role": "auditor"},
        reason="hired",
    )
    assert request.description == "Make alice@example.org a member of platform staff: auditor"
    approve(actor=Actor.staff(second), approval=request, reason="yes")
    alice.refresh_from_db()
    assert (alice.is_staff, alice.staff_role) == (True, "auditor")
    row = AuditRow.objects.get(tag=AuditTag.USER_MADE_STAFF, data__contains=alice.pk.hex)
    assert row.actor_id == second.pk.hex
    assert officer.email in row.data


@pytest.mark.parametrize("parameters", [{}, {"role": ""}, {"role": "root"}, {"role": None}])
def test_an_unknown_role_cannot_be_asked_for(parameters: dict[str, Any], officer: User, alice: User) -> None:
    with pytest.raises(InvalidValue):
        request_approval(
            actor=Actor.staff(officer),
            kind="set-staff-role",
            target_id=alice.pk.hex,
            parameters=parameters,
            reason="x",
        )


def test_an_operator_cannot_request_a_staff_role_change(operator: User, alice: User) -> None:
    with pytest.raises(NotPermitted):
        request_approval(
            actor=Actor.staff(operator),
            kind="set-staff-role",
            target_id=alice.pk.hex,
            parameters={"role": "operator"},
            reason="x",
        )


def test_making_staff_twice_and_an_unknown_role_are_refused(alice: User) -> None:
    with pytest.raises(InvalidValue):
        make_staff(actor=ACTOR, user=alice, role="root")
    make_staff(actor=ACTOR, user=alice, role=OPERATOR)
    for attempt in (make_staff, change_staff_role):
        with pytest.raises(Conflict):
            attempt(actor=ACTOR, user=alice, role=OPERATOR)


def test_a_role_belongs_to_staff_alone_says_the_database(alice: User) -> None:
    for values in ({"is_staff": True}, {"staff_role": "operator"}, {"is_staff": True, "staff_role": "root"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=alice.pk).update(**values)


# --- ending staff, and what is done to staff ---


def test_one_officer_ends_anothers_place_but_nobody_their_own(officer: User, operator: User) -> None:
    with pytest.raises(NotPermitted):
        end_staff(actor=Actor.staff(operator), user=officer)
    with pytest.raises(NotPermitted, match="themselves"):
        end_staff(actor=Actor.staff(officer), user=officer)
    ended = end_staff(actor=Actor.staff(officer), user=operator, reason="left")
    assert (ended.is_staff, ended.staff_role) == (False, "")
    with pytest.raises(NotPermitted):
        lock_user(actor=Actor.staff(ended), user=officer)


def test_an_operator_cannot_deactivate_a_colleague(operator: User, officer: User) -> None:
    for service in (deactivate_user, reactivate_user):
        with pytest.raises(NotPermitted):
            service(actor=Actor.staff(operator), user=officer)


@pytest.mark.parametrize("role", [StaffRole.AUDITOR, StaffRole.SUPPORT])
def test_auditors_and_support_cannot_change_users(role: StaffRole, alice: User) -> None:
    actor = Actor.staff(colleague("looker", role))
    for service in (lock_user, unlock_user, deactivate_user, reactivate_user):
        with pytest.raises(NotPermitted):
            service(actor=actor, user=alice)


@pytest.mark.parametrize("service", [lock_tenant, unlock_tenant, suspend_tenant, resume_tenant])
@pytest.mark.parametrize("role", StaffRole)
def test_no_role_stops_or_resumes_a_whole_tenant_alone(service: Any, role: StaffRole, news: Tenant) -> None:
    with pytest.raises(ApprovalRequired):
        service(actor=Actor.staff(colleague("one", role)), tenant=news)


def test_two_persons_lock_a_tenant(operator: User, officer: User, news: Tenant) -> None:
    request = request_approval(actor=Actor.staff(operator), kind="lock-tenant", target_id=news.pk.hex, reason="breach")
    approve(actor=Actor.staff(officer), approval=request, reason="agreed")
    news.refresh_from_db()
    assert news.state == Tenant.State.LOCKED
    row = AuditRow.objects.get(tag=AuditTag.TENANT_LOCKED)
    assert (row.chain, row.actor_id) == (news.pk.hex, officer.pk.hex)
    assert operator.email in row.data


def test_approving_an_action_whose_target_changed_since_is_refused(operator: User, officer: User, news: Tenant) -> None:
    request = request_approval(actor=Actor.staff(operator), kind="lock-tenant", target_id=news.pk.hex, reason="breach")
    lock_tenant(actor=ACTOR, tenant=news)
    with pytest.raises(Conflict, match="This tenant is locked"):
        approve(actor=Actor.staff(officer), approval=request, reason="agreed")
    request.refresh_from_db()
    assert request.state == "open"


# --- staff and membership ---


@pytest.mark.parametrize("role", StaffRole)
def test_no_role_brings_anybody_into_a_tenant_or_changes_their_place(
    role: StaffRole, news: Tenant, alice: User, make_member: Any
) -> None:
    one = colleague("one", role)
    actor, place = Actor.staff(one), make_member("bob@example.org")
    for attempt in (
        lambda: add_member(actor=actor, tenant=news, user=one, role="owner"),
        lambda: invite(actor=actor, tenant=news, email=one.email, by=None, role="owner"),
        lambda: change_role(actor=actor, membership=place, role="owner", by=None),
        lambda: suspend_member(actor=actor, membership=place, by=None),
        lambda: resume_member(actor=actor, membership=place, by=None),
        lambda: remove_member(actor=actor, membership=place, by=None),
    ):
        with pytest.raises(NotPermitted):
            attempt()
    place.refresh_from_db()
    assert (place.role, place.state) == ("member", "active")
    assert not Invitation.objects.exists()


def test_the_superuser_of_djangos_own_command_is_an_operator(db: None) -> None:
    user = User.objects.create_superuser("root@platform.test", "a long enough passphrase")
    assert (user.is_staff, user.staff_role) == (True, "operator")


# --- the command line ---


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("staff", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("make", "nobody@example.org"),
        ("role", "nobody@example.org", "--role", "auditor"),
        ("end", "alice@example.org"),
        ("role", "alice@example.org", "--role", "auditor"),
        ("make", "alice@example.org", "--role", "root"),
    ],
)
def test_the_staff_command_refuses_invalid_changes(arguments: tuple[str, ...], alice: User) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
    assert not User.objects.get(pk=alice.pk).is_staff


def test_the_command_makes_changes_lists_and_ends(alice: User) -> None:
    run("make", "alice@example.org", "--role", "support", "--reason", "hired")
    assert "no second factor yet" in run("role", "alice@example.org", "--role", "security-officer")
    (listed,) = json.loads(run("--json", "list"))
    assert (listed["email"], listed["role"], listed["second_factor"]) == (alice.email, "security-officer", False)
    assert "not on the staff" in run("end", "alice@example.org")
    tags = AuditRow.objects.filter(chain="platform", actor_type="command").values_list("tag", flat=True)
    assert set(tags) >= {AuditTag.USER_MADE_STAFF, AuditTag.USER_STAFF_ROLE_CHANGED, AuditTag.USER_STAFF_ENDED}


def test_an_account_is_made_with_its_role_at_once(news: Tenant) -> None:
    out = StringIO()
    call_command("create_user", "a@example.org", "--staff", "--role", "security-officer", "--json", stdout=out)
    assert json.loads(out.getvalue())["staff_role"] == "security-officer"
    for arguments in (("--staff", "--role", "owner"), ("--tenant", "news", "--role", "security-officer")):
        with pytest.raises(CommandError, match="There is no role"):
            call_command("create_user", "b@example.org", *arguments)
    with pytest.raises(CommandError, match="a call of its own"):
        call_command("create_user", "b@example.org", "--staff", "--tenant", "news", "--role", "auditor")
    assert not User.objects.filter(email="b@example.org").exists()


def test_officers_are_told_of_staff_made_on_the_command_line(
    officer: User, alice: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run("make", "alice@example.org", "--role", "security-officer")
    assert [officer.email] in [message.to for message in mail.outbox]
    assert all("alice@example.org" in message.body for message in mail.outbox)


# --- two officers ---


def test_fewer_than_two_officers_is_said_plainly(db: None) -> None:
    assert "Two persons are needed" in officers().detail
    colleague("one", OFFICER)
    colleague("two", OFFICER, factor=False)
    colleague("three", OPERATOR)
    finding = officers()
    assert not finding.is_ok
    assert finding.detail.startswith("1 can decide. 1 more without a second factor.")
    assert "manage.py staff" in finding.fix


def test_two_officers_with_second_factors_are_enough(officer: User, second: User) -> None:
    assert officers().is_ok
    change(second, is_active=False)
    assert not officers().is_ok
