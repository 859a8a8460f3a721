"""Who is platform staff, and in which role. Staff need a second person for it; the first are made by command."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts.errors import Conflict, InvalidValue
from accounts.models import StaffRole, User
from accounts.services._common import write
from accounts.signals import user_changed
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted

SET_STAFF_ROLE = "set-staff-role"
"""The kind of request (accounts.staff.approvals) for make_staff and change_staff_role; its parameter is ``role``."""


@transaction.atomic
def make_staff(
    *,
    actor: Actor,
    user: User,
    role: str = StaffRole.OPERATOR,
    reason: str = "",
    approval_proof: ApprovalProof | None = None,
) -> User:
    """Make somebody platform staff. They reach the admin with a second factor only.

    Raises Invalid, Conflict if they are staff already; ApprovalRequired and NotPermitted for staff actors.
    """
    return _set(actor, user, role, AuditTag.USER_MADE_STAFF, reason, approval_proof)


@transaction.atomic
def change_staff_role(
    *, actor: Actor, user: User, role: str, reason: str = "", approval_proof: ApprovalProof | None = None
) -> User:
    """Give a member of staff another role. Raises as ``make_staff``; Conflict for somebody who is no staff."""
    return _set(actor, user, role, AuditTag.USER_STAFF_ROLE_CHANGED, reason, approval_proof)


@transaction.atomic
def end_staff(*, actor: Actor, user: User, reason: str = "") -> User:
    """End somebody's place on the staff at once; one security officer is enough for that, though not for themselves.

    Raises Conflict if they are no staff, NotPermitted.
    """
    row = User.objects.select_for_update().get(pk=user.pk)
    require_staff_manager(actor, row)
    if not row.is_staff:
        raise Conflict("This person is not on the staff.")
    was = row.staff_role
    row.is_staff, row.staff_role = False, ""
    return _save(row, AuditTag.USER_STAFF_ENDED, actor, reason=reason, role=was)


def require_staff_manager(actor: Actor, user: User) -> None:
    """What is done to staff is for security officers, and nobody does it to themselves. Raises NotPermitted."""
    if user.is_staff and actor.type == ActorType.STAFF:
        require_actor(actor, StaffPermission.MANAGE_STAFF)
        if actor.id == user.pk.hex:
            raise NotPermitted("Nobody does this to themselves. Ask another security officer.")


def require_role(role: str) -> None:
    """Raises Invalid for a name that is no role of staff."""
    if role not in StaffRole.values:
        raise InvalidValue("There is no such role.")


def _set(actor: Actor, user: User, role: str, tag: AuditTag, reason: str, approval_proof: ApprovalProof | None) -> User:
    require_role(role)
    proof = use_proof(
        actor=actor,
        kind=SET_STAFF_ROLE,
        target_id=user.pk.hex,
        parameters={"role": str(role)},
        approval_proof=approval_proof,
    )
    row = User.objects.select_for_update().get(pk=user.pk)
    is_new = tag == AuditTag.USER_MADE_STAFF
    if row.is_staff == is_new or row.staff_role == role:
        raise Conflict("Nothing to change.")
    was, row.is_staff, row.staff_role = row.staff_role, True, str(role)
    return _save(row, tag, actor, reason=reason, role=str(role), was=was, **proof)


def _save(row: User, tag: AuditTag, actor: Actor, **data: Any) -> User:
    row.save(update_fields=["is_staff", "staff_role"])
    write(tag, actor, user=row.pk.hex, **data)
    user_changed.send(sender=User, object_id=row.pk)
    return row
