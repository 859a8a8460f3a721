"""The two-person rule: one asks, another decides, the first decision wins, and what was approved happens once.

``request_approval``, ``approve``, ``deny`` and ``withdraw`` take staff actors alone, and check their duties themselves;
a fresh proof of the second factor is the views' business. ``use_proof`` is for the services that do the deed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import two_person_rule
from accounts.errors import Conflict
from accounts.models.approvals import Approval, ApprovalState
from accounts.staff.approvals import notices
from accounts.staff.approvals.errors import ApprovalRequired
from accounts.staff.approvals.kinds import ApprovalKind, ApprovalProof, kind_of
from accounts.staff.roles import has_permission, require_actor
from accounts.two_person_rule import clean_reason
from keycast.audit.entries import Actor, ActorType, AuditEntry
from keycast.audit.services import PLATFORM, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import NotPermitted

_NOBODY: Final = "Nobody decided in time."


def fingerprint(kind: str, target_id: str, parameters: Mapping[str, Any]) -> str:
    """What exactly was asked for, as 64 hex digits."""
    canonical = json.dumps([kind, target_id, dict(parameters)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@transaction.atomic
def request_approval(
    *, actor: Actor, kind: str, target_id: str, reason: str, parameters: Mapping[str, Any] | None = None
) -> Approval:
    """Ask for ``kind`` to be done to ``target_id`` (an id in hex, or a name); open for 24 hours.

    ``parameters`` are JSON values and no secrets: they are kept. Those who may decide get a mail. Raises NotFound,
    NotPermitted, Invalid without a reason, AlreadyRequested.
    """
    wanted = kind_of(kind)
    _require_staff(actor)
    require_actor(actor, wanted.permission_to_request)
    values = dict(parameters or {})
    row = Approval(kind=kind, target_id=target_id, parameters=values, asked_by_id=UUID(actor.id))
    row.fingerprint = fingerprint(kind, target_id, values)
    row.description = wanted.describe(target_id, values)[:300]
    row.reason = clean_reason(reason)
    same = Approval.objects.filter(fingerprint=row.fingerprint)
    # One that is over, and that no job has closed yet, must not stand in the way of asking again.
    two_person_rule.expire_overdue(two_person_rule.overdue(same), _write_expired, decision_reason=_NOBODY)
    two_person_rule.ask_once(row)
    _write(row, AuditTag.APPROVAL_ASKED, actor, reason=row.reason, expires=row.expires_at.isoformat())
    notices.notify_approvers(row, wanted)
    return row


def approve(*, actor: Actor, approval: Approval, reason: str) -> Any:
    """Agree, and have it done in the same transaction; what its kind returns.

    Raises Decided after anybody's decision or the end, OwnApprovalRequest, NotPermitted, Conflict when who asked may no
    longer ask, and whatever the deed refuses with: then nothing has changed and the request stays open.
    """
    with transaction.atomic():
        row, kind = _open_row(approval), kind_of(approval.kind)
        _require_decider(actor, row, kind)
        # Looked at now, not when it was asked: who has lost a duty since must not have it exercised by another.
        if not has_permission(row.asked_by, kind.permission_to_request):
            raise Conflict("Who asked for this may not ask for it any more. Deny it.")
        # Before the deed, which spends an approved request (use_proof); if it refuses, the transaction undoes this too.
        _close(row, ApprovalState.APPROVED, actor, reason)
        _write(row, AuditTag.APPROVAL_GRANTED, actor, reason=row.decision_reason, asked_by=row.asked_by.email)
        approval_proof = ApprovalProof(
            approval_id=row.id,
            actor=actor,
            asked_by=row.asked_by.email,
            kind=row.kind,
            target_id=row.target_id,
            reason=row.reason,
            parameters=row.parameters,
        )
        return kind.run(approval_proof)


@transaction.atomic
def deny(*, actor: Actor, approval: Approval, reason: str) -> Approval:
    """Refuse it for good. Raises Decided, OwnApprovalRequest, NotPermitted, Invalid."""
    row = _open_row(approval)
    _require_decider(actor, row, kind_of(row.kind))
    _close(row, ApprovalState.DENIED, actor, reason)
    _write(row, AuditTag.APPROVAL_DENIED, actor, reason=row.decision_reason, asked_by=row.asked_by.email)
    return row


@transaction.atomic
def withdraw(*, actor: Actor, approval: Approval, reason: str = "") -> Approval:
    """Take one's own request back. Raises Decided; NotPermitted for anybody else's."""
    row = _open_row(approval)
    _require_staff(actor)
    two_person_rule.require_who_asked(row, actor, ActorType.STAFF)
    _close(row, ApprovalState.WITHDRAWN, actor, reason or "Withdrawn.")
    _write(row, AuditTag.APPROVAL_WITHDRAWN, actor, reason=row.decision_reason)
    return row


def expire() -> int:
    """Close every request whose time is over; returns how many. For a job; safe to repeat."""
    rows = two_person_rule.overdue(Approval.objects.all())
    return two_person_rule.expire_overdue(rows, _write_expired, decision_reason=_NOBODY)


def use_proof(
    *,
    actor: Actor,
    kind: str,
    target_id: str,
    approval_proof: ApprovalProof | None,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Called by the service that does the deed, in its transaction: staff need a approval proof for exactly this,
    unspent.

    Returns what the deed's audit row should say of it. Nothing is asked of members, who answer to
    accounts.permissions; ``system`` and ``command`` actors need no second person, but security officers are told by
    mail what a command did. Raises ApprovalRequired.
    """
    if actor.type == ActorType.COMMAND:
        notices.done_by_command(actor, kind, target_id, dict(parameters or {}))
    if actor.type != ActorType.STAFF:
        return {}
    if approval_proof is None or approval_proof.actor != actor:
        raise ApprovalRequired
    unspent = Approval.objects.filter(
        pk=approval_proof.approval_id,
        state=ApprovalState.APPROVED,
        used_at__isnull=True,
        fingerprint=fingerprint(kind, target_id, parameters or {}),
        decided_by_id=UUID(actor.id),
    )
    # Looks and marks in one statement: of two deeds at once, one finds nothing left.
    if not unspent.update(used_at=timezone.now()):
        raise ApprovalRequired
    return {"approval": approval_proof.approval_id.hex, "asked_by": approval_proof.asked_by}


def _require_staff(actor: Actor) -> None:
    if actor.type != ActorType.STAFF:
        raise NotPermitted("Only platform staff ask for and decide on this.")


def _require_decider(actor: Actor, row: Approval, kind: ApprovalKind) -> None:
    _require_staff(actor)
    two_person_rule.require_another_person(row, actor)
    require_actor(actor, kind.permission_to_approve)


def _open_row(approval: Approval) -> Approval:
    return two_person_rule.open_row(Approval.objects.select_related("asked_by"), approval.pk)


def _close(row: Approval, state: ApprovalState, actor: Actor, reason: str) -> None:
    two_person_rule.close(row, state, decided_by=UUID(actor.id), decision_reason=clean_reason(reason))


def _write_expired(row: Approval) -> None:
    _write(row, AuditTag.APPROVAL_EXPIRED, Actor.system("jobs"))


def _write(row: Approval, tag: AuditTag, actor: Actor, **data: Any) -> None:
    facts = {"approval": row.id.hex, "kind": row.kind, "target": row.target_id, "what": row.description}
    record(AuditEntry(PLATFORM, tag, AuditOutcome.OK, actor, data={**facts, **data}))
