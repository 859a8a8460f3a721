"""The two-person rule: nobody decides on their own request, the first decision wins, and it is good for once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.errors import AlreadyDecided, AlreadyRequested, Conflict, InvalidValue, OwnApprovalRequest
from accounts.models import Approval, StaffRole, User
from accounts.staff.approvals.errors import ApprovalRequired
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import approve, deny, expire, fingerprint, request_approval, use_proof, withdraw
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted
from tests.accounts.staff.approvals.conftest import COMMAND, Deed, colleague
from tests.rows import change

Service = Callable[..., Any]


def asked(by: User, target: str = "a1", **parameters: str) -> Approval:
    return request_approval(
        actor=Actor.staff(by), kind="test-deed", target_id=target, parameters=parameters, reason="lost laptop"
    )


# --- asking ---


def test_nobody_asks_for_what_is_not_their_duty(auditor: User, deed: Deed) -> None:
    with pytest.raises(NotPermitted):
        asked(auditor)
    assert not Approval.objects.exists()


@pytest.mark.parametrize("actor", [Actor.system("jobs"), COMMAND, Actor.client("ab" * 32)])
def test_only_staff_ask(actor: Actor, deed: Deed, db: None) -> None:
    with pytest.raises(NotPermitted):
        request_approval(actor=actor, kind="test-deed", target_id="a1", reason="x")


def test_a_member_of_staff_as_a_user_of_the_portal_does_not_ask(operator: User, deed: Deed) -> None:
    with pytest.raises(NotPermitted):
        request_approval(actor=Actor.user(operator), kind="test-deed", target_id="a1", reason="x")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "two\nlines", "\u202ereversed"])
def test_a_request_needs_a_reason_in_one_line(reason: str, operator: User, deed: Deed) -> None:
    with pytest.raises(InvalidValue):
        request_approval(actor=Actor.staff(operator), kind="test-deed", target_id="a1", reason=reason)


def test_an_approval_for_a_target_that_does_not_exist_cannot_be_requested(operator: User, deed: Deed) -> None:
    with pytest.raises(NotFound):
        asked(operator, "gone")
    with pytest.raises(NotFound):
        request_approval(actor=Actor.staff(operator), kind="no-such-kind", target_id="a1", reason="x")


def test_the_same_is_not_asked_for_twice_at_a_time(operator: User, officer: User, deed: Deed) -> None:
    first = asked(operator)
    for person in (operator, officer):
        with pytest.raises(AlreadyRequested):
            asked(person)
    asked(operator, "other")
    asked(operator, how="softly")
    deny(actor=Actor.staff(officer), approval=first, reason="no")
    assert asked(operator).pk != first.pk


def test_an_overdue_request_is_not_in_the_way_of_a_new_one(operator: User, deed: Deed) -> None:
    first = asked(operator)
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert asked(operator).pk != first.pk
    first.refresh_from_db()
    assert first.state == "expired"


def test_a_request_is_in_the_log_with_its_reason(operator: User, deed: Deed) -> None:
    row = asked(operator)
    written = AuditRow.objects.get(tag=AuditTag.APPROVAL_ASKED)
    assert (written.chain, written.actor_type, written.actor_id) == ("platform", "staff", operator.id.hex)
    for text in ("lost laptop", "Do it to a1", row.id.hex):
        assert text in written.data


# --- deciding ---


def test_nobody_approves_or_denies_their_own_request(officer: User, deed: Deed) -> None:
    row = asked(officer)
    for service in (approve, deny):
        with pytest.raises(OwnApprovalRequest):
            service(actor=Actor.staff(officer), approval=row, reason="me")
    assert not deed.done


@pytest.mark.parametrize("role", [StaffRole.OPERATOR, StaffRole.AUDITOR, StaffRole.SUPPORT])
def test_only_security_officers_decide(role: StaffRole, operator: User, deed: Deed) -> None:
    row, other = asked(operator), Actor.staff(colleague("other", role))
    for service in (approve, deny):
        with pytest.raises(NotPermitted):
            service(actor=other, approval=row, reason="x")
    assert not deed.done


@pytest.mark.parametrize("actor", [Actor.system("jobs"), COMMAND])
def test_neither_a_job_nor_a_command_approves(actor: Actor, operator: User, deed: Deed) -> None:
    row = asked(operator)
    with pytest.raises(NotPermitted):
        approve(actor=actor, approval=row, reason="x")


def test_an_officer_who_lost_the_role_no_longer_decides(operator: User, officer: User, deed: Deed) -> None:
    row = asked(operator)
    for values in ({"staff_role": StaffRole.AUDITOR}, {"is_active": False, "staff_role": StaffRole.SECURITY_OFFICER}):
        change(officer, **values)
        with pytest.raises(NotPermitted):
            approve(actor=Actor.staff(officer), approval=row, reason="x")
    assert not deed.done


def test_a_request_of_former_staff_cannot_be_approved(operator: User, officer: User, deed: Deed) -> None:
    row = asked(operator)
    change(operator, is_active=False)
    with pytest.raises(Conflict, match="may not ask for it any more"):
        approve(actor=Actor.staff(officer), approval=row, reason="x")
    assert not deed.done
    deny(actor=Actor.staff(officer), approval=row, reason="left")


@pytest.mark.parametrize("first", [approve, deny])
@pytest.mark.parametrize("then", [approve, deny])
def test_the_first_decision_stands(
    first: object, then: object, operator: User, officer: User, second: User, deed: Deed
) -> None:
    row = asked(operator)
    first(actor=Actor.staff(officer), approval=row, reason="one")
    with pytest.raises(AlreadyDecided, match=r"officer@platform\.test") as refusal:
        then(actor=Actor.staff(second), approval=row, reason="two")
    assert refusal.value.http_status == 409
    row.refresh_from_db()
    assert (row.decided_by, row.decision_reason) == (officer, "one")
    assert len(deed.done) == (1 if first is approve else 0)


def test_after_its_time_a_request_is_closed(operator: User, officer: User, deed: Deed) -> None:
    row = asked(operator)
    Approval.objects.update(expires_at=timezone.now())
    for service, person in ((approve, officer), (deny, officer), (withdraw, operator)):
        with pytest.raises(AlreadyDecided, match="expired"):
            service(actor=Actor.staff(person), approval=row, reason="late")
    assert not deed.done


def test_only_the_requester_can_withdraw_a_request(operator: User, officer: User, deed: Deed) -> None:
    row = asked(operator)
    with pytest.raises(NotPermitted):
        withdraw(actor=Actor.staff(officer), approval=row)
    withdraw(actor=Actor.staff(operator), approval=row)
    with pytest.raises(AlreadyDecided):
        approve(actor=Actor.staff(officer), approval=row, reason="x")
    assert not deed.done


def test_an_error_of_the_approved_service_is_raised_and_leaves_the_request_open(
    operator: User, officer: User, deed: Deed
) -> None:
    row, deed.refuses = asked(operator), True
    with pytest.raises(Conflict, match="Its state has changed"):
        approve(actor=Actor.staff(officer), approval=row, reason="yes")
    row.refresh_from_db()
    assert (row.state, row.decided_by, row.used_at) == ("open", None, None)
    assert not AuditRow.objects.filter(tag=AuditTag.APPROVAL_GRANTED).exists()
    deed.refuses = False
    assert approve(actor=Actor.staff(officer), approval=row, reason="yes") == "done"


def test_an_approved_action_runs_once_and_is_logged_under_both_names(operator: User, officer: User, deed: Deed) -> None:
    row = asked(operator, how="softly")
    assert approve(actor=Actor.staff(officer), approval=row, reason="checked") == "done"
    (approval_proof,) = deed.done
    assert (approval_proof.actor, approval_proof.asked_by) == (Actor.staff(officer), operator.email)
    assert (approval_proof.target_id, dict(approval_proof.parameters), approval_proof.reason) == (
        "a1",
        {"how": "softly"},
        "lost laptop",
    )
    row.refresh_from_db()
    assert (row.state, row.decided_by, row.decision_reason) == ("approved", officer, "checked")
    assert row.used_at is not None
    written = AuditRow.objects.get(tag=AuditTag.APPROVAL_GRANTED)
    assert written.actor_id == officer.id.hex
    assert operator.email in written.data


@pytest.mark.django_db(transaction=True)
def test_of_two_concurrent_decisions_only_one_is_stored(
    operator: User, officer: User, second: User, deed: Deed
) -> None:
    row, ends, start = asked(operator), [], threading.Barrier(4)

    def decide(service: Service, person: User) -> None:
        start.wait()
        try:
            service(actor=Actor.staff(person), approval=row, reason="now")
            ends.append("decided")
        except AlreadyDecided:
            ends.append("late")
        finally:
            connection.close()

    tries = [(approve, officer), (approve, second), (deny, officer), (deny, second)]
    threads = [threading.Thread(target=decide, args=one) for one in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ends) == ["decided", "late", "late", "late"]
    assert len(deed.done) == Approval.objects.filter(state="approved").count()


# --- approval proofs ---


def approval_proof_of(row: Approval, decider: User, **changes: object) -> ApprovalProof:
    facts = {
        "approval_id": row.pk,
        "actor": Actor.staff(decider),
        "asked_by": row.asked_by.email,
        "kind": row.kind,
        "target_id": row.target_id,
        "reason": row.reason,
        "parameters": row.parameters,
    }
    return ApprovalProof(**{**facts, **changes})  # type: ignore[arg-type]


def use(approval_proof: ApprovalProof | None, actor: Actor, target: str = "a1", **parameters: str) -> dict[str, str]:
    return use_proof(
        actor=actor, kind="test-deed", target_id=target, parameters=parameters, approval_proof=approval_proof
    )


def test_staff_without_an_approval_proof_are_refused_whatever_their_role(officer: User, deed: Deed) -> None:
    with pytest.raises(ApprovalRequired):
        use(None, Actor.staff(officer))


def test_an_approval_proof_forged_from_an_open_or_denied_request_is_refused(
    operator: User, officer: User, deed: Deed
) -> None:
    row = asked(operator)
    with pytest.raises(ApprovalRequired):
        use(approval_proof_of(row, officer), Actor.staff(officer))
    deny(actor=Actor.staff(officer), approval=row, reason="no")
    with pytest.raises(ApprovalRequired):
        use(approval_proof_of(row, officer), Actor.staff(officer))


def approved_unspent(operator: User, officer: User) -> Approval:
    row = asked(operator)
    Approval.objects.update(state="approved", decided_by=officer, decided_at=timezone.now())
    return row


def test_an_approval_proof_works_once_for_its_own_action_and_approver(
    operator: User, officer: User, second: User, deed: Deed
) -> None:
    row = approved_unspent(operator, officer)
    good, actor = approval_proof_of(row, officer), Actor.staff(officer)
    for attempt in (
        lambda: use(good, actor, "a2"),
        lambda: use(good, actor, how="harder"),
        lambda: use(good, Actor.staff(second)),
        lambda: use(approval_proof_of(row, second), Actor.staff(second)),
        lambda: use(approval_proof_of(row, operator), Actor.staff(operator)),
        lambda: use_proof(actor=actor, kind="lock-tenant", target_id="a1", approval_proof=good),
    ):
        with pytest.raises(ApprovalRequired):
            attempt()
    assert use(good, actor) == {"approval": row.pk.hex, "asked_by": operator.email}
    with pytest.raises(ApprovalRequired):
        use(good, actor)


def test_the_database_itself_refuses_one_person_as_both(operator: User, deed: Deed) -> None:
    row = asked(operator)
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.filter(pk=row.pk).update(state="approved", decided_by=operator, decided_at=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.filter(pk=row.pk).update(state="approved", decided_at=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.filter(pk=row.pk).update(used_at=timezone.now())


@pytest.mark.parametrize("actor", [COMMAND, Actor.system("jobs")])
def test_the_server_itself_needs_no_second_person(actor: Actor, deed: Deed, db: None) -> None:
    assert use(None, actor) == {}


def test_what_was_asked_for_has_one_fingerprint() -> None:
    same = {fingerprint("k", "t", {"a": 1, "b": 2}), fingerprint("k", "t", {"b": 2, "a": 1})}
    assert len(same) == 1
    others = {
        fingerprint("k", "t", {}),
        fingerprint("k", "u", {}),
        fingerprint("l", "t", {}),
        fingerprint("kt", "", {}),
    }
    assert len(others | same) == 5


# --- the end of time, and mails ---


def test_the_job_closes_what_is_overdue_and_nothing_else(operator: User, deed: Deed) -> None:
    old, new = asked(operator), asked(operator, "b2")
    Approval.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    assert expire() == 1
    assert expire() == 0
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.state, new.state) == ("expired", "open")
    assert AuditRow.objects.get(tag=AuditTag.APPROVAL_EXPIRED).actor_type == "system"


def test_those_who_may_decide_get_a_mail_that_leads_to_the_platforms_host(
    operator: User,
    officer: User,
    second: User,
    auditor: User,
    deed: Deed,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.PLATFORM_HOSTS = ["admin.test"]
    change(second, is_active=False)
    with django_capture_on_commit_callbacks(execute=True):
        row = asked(operator)
    (message,) = mail.outbox
    assert message.to == [officer.email]
    assert "://admin.test" in message.body
    assert f"/admin/accounts/approval/{row.pk}/change/" in message.body
    assert "lost laptop" in message.body
    assert "\n" not in message.subject


def test_an_officer_who_asks_is_not_asked(
    officer: User,
    second: User,
    deed: Deed,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        asked(officer)
    assert [message.to for message in mail.outbox] == [[second.email]]


def test_officers_are_told_of_what_a_command_did(
    officer: User, deed: Deed, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        use(None, COMMAND)
    (message,) = mail.outbox
    assert message.to == [officer.email]
    assert "Do it to a1" in message.body
    assert "manage.py tests" in message.body
