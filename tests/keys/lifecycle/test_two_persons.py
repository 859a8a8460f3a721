"""Staff destroy no key alone; its owner does; the server's own command line does, and officers hear of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django_scopes import scopes_disabled
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import StaffRole, User
from accounts.services import create_user
from accounts.staff.approvals.errors import ApprovalRequired
from accounts.staff.approvals.services import approve, request_approval
from accounts.staff.roles import PERMISSIONS, StaffPermission
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted
from keys.errors import InvalidTransition, KeyNotFound
from keys.models import KeyState, PersonalKey
from keys.services import (
    DESTROY_KEY,
    cancel_destruction,
    create_key,
    disable_key,
    lock_key,
    rename_key,
    schedule_destruction,
)

COMMAND = Actor.command("tests")


def colleague(name: str, role: StaffRole) -> User:
    return create_user(actor=COMMAND, email=f"{name}@platform.test", is_staff=True, staff_role=role)


@pytest.fixture
def officer(db: None) -> User:
    return colleague("officer", StaffRole.SECURITY_OFFICER)


@pytest.fixture
def operator(db: None) -> User:
    return colleague("operator", StaffRole.OPERATOR)


def state_of(key: PersonalKey) -> str:
    with scopes_disabled():
        return PersonalKey.objects.get(pk=key.pk).state


@pytest.mark.parametrize("role", StaffRole)
def test_no_role_destroys_a_key_alone(role: StaffRole, key: PersonalKey) -> None:
    with pytest.raises(NotPermitted) as refusal:
        schedule_destruction(actor=Actor.staff(colleague("one", role)), key=key, reason="x")
    if role in PERMISSIONS[StaffPermission.DESTROY]:
        assert isinstance(refusal.value, ApprovalRequired)
    assert state_of(key) == KeyState.ACTIVE


@pytest.mark.parametrize("service", [lock_key, disable_key, cancel_destruction])
@pytest.mark.parametrize("role", [StaffRole.AUDITOR, StaffRole.SUPPORT])
def test_auditors_and_support_cannot_stop_a_key(service: Any, role: StaffRole, key: PersonalKey) -> None:
    actor = Actor.staff(colleague("looker", role))
    with pytest.raises(NotPermitted):
        service(actor=actor, key=key)
    with pytest.raises(NotPermitted):
        rename_key(actor=actor, key=key, name="mine")
    with pytest.raises(NotPermitted):
        create_key(actor=actor, tenant=key.tenant, user=key.user, name="another")


def test_one_asks_another_approves_and_the_key_stops(key: PersonalKey, operator: User, officer: User) -> None:
    request = request_approval(
        actor=Actor.staff(operator), kind=DESTROY_KEY, target_id=key.pk.hex, reason="court order"
    )
    assert state_of(key) == KeyState.ACTIVE
    assert "npub1" in request.description
    approve(actor=Actor.staff(officer), approval=request, reason="seen it")
    assert state_of(key) == KeyState.DESTRUCTION_SCHEDULED
    row = AuditRow.objects.get(tag=AuditTag.KEY_DESTRUCTION_SCHEDULED)
    assert (row.actor_type, row.actor_id) == ("staff", officer.pk.hex)
    for text in (operator.email, "court order", request.pk.hex):
        assert text in row.data


def test_an_approval_is_for_one_key_alone(key: PersonalKey, operator: User, officer: User) -> None:
    other = create_key(actor=COMMAND, tenant=key.tenant, user=key.user, name="other")
    request = request_approval(actor=Actor.staff(operator), kind=DESTROY_KEY, target_id=key.pk.hex, reason="x")
    approve(actor=Actor.staff(officer), approval=request, reason="x")
    for actor in (Actor.staff(officer), Actor.staff(operator)):
        with pytest.raises(ApprovalRequired):
            schedule_destruction(actor=actor, key=other)
    assert state_of(other) == KeyState.ACTIVE


def test_what_cannot_be_destroyed_cannot_be_asked_for(key: PersonalKey, operator: User) -> None:
    actor = Actor.staff(operator)
    for target in ("nonsense", "ab" * 16):
        with pytest.raises(KeyNotFound):
            request_approval(actor=actor, kind=DESTROY_KEY, target_id=target, reason="x")
    schedule_destruction(actor=COMMAND, key=key)
    with pytest.raises(InvalidTransition):
        request_approval(actor=actor, kind=DESTROY_KEY, target_id=key.pk.hex, reason="x")


def test_a_key_that_changed_meanwhile_keeps_its_state(key: PersonalKey, operator: User, officer: User) -> None:
    request = request_approval(actor=Actor.staff(operator), kind=DESTROY_KEY, target_id=key.pk.hex, reason="x")
    schedule_destruction(actor=COMMAND, key=key)
    with pytest.raises(InvalidTransition):
        approve(actor=Actor.staff(officer), approval=request, reason="x")
    request.refresh_from_db()
    assert (request.state, request.used_at) == ("open", None)


def test_the_owner_needs_nobody_else(key: PersonalKey) -> None:
    schedule_destruction(actor=Actor.user(key.user), key=key)
    assert state_of(key) == KeyState.DESTRUCTION_SCHEDULED


def test_a_command_needs_nobody_else_and_officers_get_a_mail(
    key: PersonalKey, officer: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        schedule_destruction(actor=COMMAND, key=key)
    (message,) = mail.outbox
    assert message.to == [officer.email]
    assert "Destroy the key npub1" in message.body


def test_one_of_the_staff_alone_keeps_a_key_from_destruction(key: PersonalKey, operator: User) -> None:
    schedule_destruction(actor=COMMAND, key=key)
    with pytest.raises(NotPermitted):
        cancel_destruction(actor=Actor.staff(colleague("auditor", StaffRole.AUDITOR)), key=key)
    cancel_destruction(actor=Actor.staff(operator), key=key)
    assert state_of(key) == KeyState.DISABLED
