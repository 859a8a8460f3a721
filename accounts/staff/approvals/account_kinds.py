"""What two persons decide about accounts: the kinds of requests that this app brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from django.urls import reverse

from accounts.models import StaffRole, Tenant, User
from accounts.services import staff, tenants
from accounts.staff.approvals.kinds import ApprovalKind, ApprovalProof, register
from accounts.staff.roles import StaffPermission
from keycast.base.errors import NotFound

_WORDS: Final = {
    tenants.LOCK: ("Lock a tenant", "Lock the tenant {}: nothing is signed for its people"),
    tenants.UNLOCK: ("Unlock a tenant", "Unlock the tenant {}"),
    tenants.SUSPEND: ("Suspend a tenant", "Suspend the tenant {}: no portal, no relay, no signing"),
    tenants.RESUME: ("Resume a tenant", "Resume the tenant {}"),
}
_SERVICES: Final[dict[str, Callable[..., Any]]] = {
    tenants.LOCK: tenants.lock_tenant,
    tenants.UNLOCK: tenants.unlock_tenant,
    tenants.SUSPEND: tenants.suspend_tenant,
    tenants.RESUME: tenants.resume_tenant,
}


def connect() -> None:
    """Register them; called once, when the app is ready."""
    for slug in _SERVICES:
        register(_tenant_kind(slug))
    register(
        ApprovalKind(
            slug=staff.SET_STAFF_ROLE,
            title="Make staff or change a role",
            run=_set_staff_role,
            describe=_describe_role,
            permission_to_request=StaffPermission.MANAGE_STAFF,
            page=lambda target_id: reverse("admin:accounts_user_change", args=[UUID(target_id)]),
        )
    )


def _tenant_kind(slug: str) -> ApprovalKind:
    title, sentence = _WORDS[slug]
    return ApprovalKind(
        slug=slug,
        title=title,
        run=lambda approval_proof: _SERVICES[slug](
            actor=approval_proof.actor,
            tenant=_tenant(approval_proof.target_id),
            reason=approval_proof.reason,
            approval_proof=approval_proof,
        ),
        describe=lambda target_id, parameters: sentence.format(_tenant(target_id).name),
        permission_to_request=StaffPermission.MANAGE_TENANTS,
        page=lambda target_id: reverse("admin:accounts_tenant_change", args=[UUID(target_id)]),
    )


def _set_staff_role(approval_proof: ApprovalProof) -> User:
    user, role = _user(approval_proof.target_id), str(approval_proof.parameters.get("role", ""))
    action = staff.change_staff_role if user.is_staff else staff.make_staff
    return action(
        actor=approval_proof.actor, user=user, role=role, reason=approval_proof.reason, approval_proof=approval_proof
    )


def _describe_role(target_id: str, parameters: Mapping[str, Any]) -> str:
    user, role = _user(target_id), str(parameters.get("role", ""))
    staff.require_role(role)
    label = StaffRole(role).label.lower()
    if user.is_staff:
        return f"Change the role of {user.email} from {user.get_staff_role_display().lower()} to {label}"
    return f"Make {user.email} a member of platform staff: {label}"


def _tenant(target_id: str) -> Tenant:
    found = Tenant.objects.filter(pk=_uuid(target_id)).first()
    if found is None:
        raise NotFound("There is no such tenant.")
    return found


def _user(target_id: str) -> User:
    found = User.objects.filter(pk=_uuid(target_id)).first()
    if found is None:
        raise NotFound("There is no such person.")
    return found


def _uuid(target_id: str) -> UUID:
    try:
        return UUID(target_id)
    except ValueError:
        raise NotFound from None
