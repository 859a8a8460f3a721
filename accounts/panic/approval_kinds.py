"""What two persons of the staff decide about locks: the kinds of requests to lift one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.urls import reverse

from accounts.models import User
from accounts.panic.selectors import deployment_lock
from accounts.panic.services import UNLOCK_DEPLOYMENT, unlock_deployment
from accounts.services import users
from accounts.staff.approvals.kinds import ApprovalKind, ApprovalProof, register
from accounts.staff.roles import StaffPermission
from keycast.base.errors import NotFound


def connect() -> None:
    """Register them; called once, when the app is ready."""
    register(
        ApprovalKind(
            slug=users.UNLOCK,
            title="Unlock a person",
            run=lambda approval_proof: users.unlock_user(
                actor=approval_proof.actor,
                user=_user(approval_proof.target_id),
                reason=approval_proof.reason,
                approval_proof=approval_proof,
            ),
            describe=lambda target_id, parameters: f"Unlock {_user(target_id).email}: signing goes on with their keys",
            permission_to_request=StaffPermission.LOCK,
            page=lambda target_id: reverse("admin:accounts_user_change", args=[UUID(target_id)]),
        )
    )
    register(
        ApprovalKind(
            slug=UNLOCK_DEPLOYMENT,
            title="Unlock the deployment",
            run=_unlock_deployment,
            describe=_describe_deployment,
            permission_to_request=StaffPermission.PANIC,
            page=lambda target_id: reverse("admin:panic"),
        )
    )


def _unlock_deployment(approval_proof: ApprovalProof) -> Any:
    return unlock_deployment(actor=approval_proof.actor, reason=approval_proof.reason, approval_proof=approval_proof)


def _describe_deployment(target_id: str, parameters: Mapping[str, Any]) -> str:
    lock = deployment_lock()
    if lock.locked_at is None:
        raise NotFound("The deployment is not locked.")
    return f"Unlock the deployment, locked by {lock.locked_by}: {lock.reason}"[:300]


def _user(target_id: str) -> User:
    try:
        found = User.objects.filter(pk=UUID(target_id)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("There is no such person.")
    return found
