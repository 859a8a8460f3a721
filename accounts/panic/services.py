"""Locking the deployment, and lifting what a tenant's own people locked: one asks, another decides."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts import two_person_rule
from accounts.errors import Conflict
from accounts.models import Membership, Tenant, User
from accounts.models.panic import DeploymentLock, Release
from accounts.panic import notices
from accounts.panic.authority import membership_of, require_liftable_here
from accounts.permissions import MemberPermission, require
from accounts.services import tenants, users
from accounts.services._common import write
from accounts.signals import deployment_changed
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission, require_actor
from accounts.two_person_rule import clean_reason
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted

UNLOCK_DEPLOYMENT: Final = "unlock-deployment"


@transaction.atomic
def lock_deployment(*, actor: Actor, reason: str) -> DeploymentLock:
    """Stop all signing on this deployment at once: one person is enough. Raises Conflict, Invalid, NotPermitted."""
    _require_platform(actor)
    require_actor(actor, StaffPermission.PANIC)
    row = _locked_row()
    if row.locked_at is not None:
        raise Conflict("The deployment is locked already.")
    row.locked_at, row.locked_by, row.reason = timezone.now(), actor.label[:200], clean_reason(reason)
    row.save()
    write(AuditTag.DEPLOYMENT_LOCKED, actor, reason=row.reason)
    deployment_changed.send(sender=DeploymentLock)
    notices.deployment_locked(row)
    return row


@transaction.atomic
def unlock_deployment(*, actor: Actor, reason: str, approval_proof: ApprovalProof | None = None) -> DeploymentLock:
    """Let signing go on. Staff need two persons (accounts.staff.approvals). Raises Conflict, ApprovalRequired."""
    _require_platform(actor)
    proof: dict[str, Any] = {
        **use_proof(actor=actor, kind=UNLOCK_DEPLOYMENT, target_id="", approval_proof=approval_proof)
    }
    row = _locked_row()
    if row.locked_at is None:
        raise Conflict("The deployment is not locked.")
    row.locked_at, row.locked_by, row.reason = None, "", ""
    row.save()
    write(AuditTag.DEPLOYMENT_UNLOCKED, actor, reason=reason, **proof)
    deployment_changed.send(sender=DeploymentLock)
    return row


@transaction.atomic
def ask_release(*, actor: Actor, tenant: Tenant, reason: str, user: User | None = None) -> Release:
    """Ask another owner or administrator to lift the tenant's lock, or that of ``user``: one's own, or a member's.

    Raises NotPermitted, Conflict (nothing is locked, or it has been asked for), Invalid without a reason.
    """
    place = membership_of(actor, tenant)
    if user is None or place is None or user.id != place.user_id:
        require(place, MemberPermission.LOCK_TENANT)
    _require_locked(tenant, user)
    with scope(tenant=tenant):
        two_person_rule.expire_overdue(two_person_rule.overdue(Release.objects.filter(user=user)))
    row = Release(tenant=tenant, user=user, asked_by_id=UUID(hex=actor.id), reason=clean_reason(reason))
    two_person_rule.ask_once(row)
    write(AuditTag.RELEASE_ASKED, actor, tenant_id=tenant.id, release=row.id.hex, reason=row.reason, **_whose(row))
    notices.release_asked(row, decidable_by(row))
    return row


@transaction.atomic
def grant_release(*, actor: Actor, release: Release) -> Release:
    """Lift the lock, as a second person. Raises NotPermitted for who asked, Conflict once it is closed."""
    row = _decided(actor, release, Release.State.GRANTED)
    write(AuditTag.RELEASE_GRANTED, actor, tenant_id=row.tenant_id, release=row.id.hex, **_whose(row))
    proof = {"release": row.id.hex, "asked_by": row.asked_by.email}
    _require_locked(row.tenant, row.user)
    if row.user is None:
        tenants.lift_lock(actor=actor, tenant=row.tenant, reason=row.reason, proof=proof)
    else:
        users.lift_lock(actor=actor, user=row.user, reason=row.reason, proof=proof)
    return row


@transaction.atomic
def refuse_release(*, actor: Actor, release: Release) -> Release:
    """Leave the lock where it is. Raises NotPermitted, Conflict."""
    row = _decided(actor, release, Release.State.REFUSED)
    write(AuditTag.RELEASE_REFUSED, actor, tenant_id=row.tenant_id, release=row.id.hex, **_whose(row))
    return row


@transaction.atomic
def withdraw_release(*, actor: Actor, release: Release) -> Release:
    """Take one's own request back. Raises NotPermitted, Conflict."""
    row = _open_row(release)
    two_person_rule.require_who_asked(row, actor, ActorType.USER)
    two_person_rule.close(row, Release.State.WITHDRAWN, decided_by=None)
    write(AuditTag.RELEASE_WITHDRAWN, actor, tenant_id=row.tenant_id, release=row.id.hex, **_whose(row))
    return row


def decidable_by(release: Release) -> list[User]:
    """Who may decide: the tenant's owners and administrators, but never who asked."""
    with scope(tenant=release.tenant_id):
        places = Membership.objects.filter(
            tenant_id=release.tenant_id,
            state=Membership.State.ACTIVE,
            role__in=["owner", "admin"],
            user__is_active=True,
        )
        return [place.user for place in places.exclude(user_id=release.asked_by_id).select_related("user")]


def open_releases(tenant: Tenant) -> list[Release]:
    """What waits for a decision in a tenant, oldest first."""
    with scope(tenant=tenant):
        rows = Release.objects.filter(tenant=tenant, state=Release.State.OPEN, expires_at__gt=timezone.now())
        return list(rows.select_related("asked_by", "user").order_by("asked_at"))


def expire_releases() -> int:
    """Close requests whose time is over; returns how many. For a job; safe to repeat."""
    # A job closes what is overdue in every tenant.
    with scopes_disabled():
        return two_person_rule.expire_overdue(two_person_rule.overdue(Release.objects.all()))


def _require_platform(actor: Actor) -> None:
    if actor.type not in {ActorType.STAFF, ActorType.COMMAND, ActorType.SYSTEM}:
        raise NotPermitted


def _locked_row() -> DeploymentLock:
    DeploymentLock.objects.get_or_create(id=1)
    return DeploymentLock.objects.select_for_update().get(id=1)


def _require_locked(tenant: Tenant, user: User | None) -> None:
    """There is a lock, and the tenant's own people may lift it."""
    if user is not None:
        fresh = User.objects.select_for_update().get(pk=user.pk)
        if fresh.locked_at is None:
            raise Conflict("This account is not locked.")
        require_liftable_here(fresh.locked_by)
        return
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.state != Tenant.State.LOCKED:
        raise Conflict(f"This tenant is {row.get_state_display().lower()}.")
    require_liftable_here(row.state_set_by)


def _open_row(release: Release) -> Release:
    with scope(tenant=release.tenant_id):
        return two_person_rule.open_row(Release.objects.select_related("tenant", "user", "asked_by"), release.pk)


def _decided(actor: Actor, release: Release, state: Release.State) -> Release:
    row = _open_row(release)
    require(membership_of(actor, row.tenant), MemberPermission.LOCK_TENANT)
    two_person_rule.require_another_person(row, actor)
    two_person_rule.close(row, state, decided_by=UUID(hex=actor.id))
    return row


def _whose(row: Release) -> dict[str, Any]:
    return {"user": row.user_id.hex} if row.user_id else {}
