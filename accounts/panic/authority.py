"""On whose authority somebody locks a person or a tenant, and whether that is enough to lift what stands."""

from __future__ import annotations

from uuid import UUID

from django_scopes import scope

from accounts.models import LockAuthority, Membership, Tenant, User
from accounts.models.lock_authority import BY_WHOM, RANK
from accounts.permissions import MemberPermission, require
from keycast.audit.entries import Actor, ActorType
from keycast.base.errors import NotPermitted


def over_person(actor: Actor, user: User) -> LockAuthority:
    """Members lock themselves alone; suspending others is accounts.services.members'. Raises NotPermitted."""
    if actor.type == ActorType.USER and actor.id != user.id.hex:
        raise NotPermitted
    return _platform(actor) or LockAuthority.OWNER


def over_tenant(actor: Actor, tenant: Tenant) -> LockAuthority:
    """Owners and administrators of the tenant, and the platform. Raises NotPermitted."""
    held = _platform(actor)
    if held is None:
        require(membership_of(actor, tenant), MemberPermission.LOCK_TENANT)
    return held or LockAuthority.TENANT


def require_liftable_here(locked_by: str) -> None:
    """A tenant's own people lift what they locked themselves. Raises NotPermitted, saying who can."""
    if RANK[locked_by] > RANK[LockAuthority.TENANT]:
        raise NotPermitted(f"Only {BY_WHOM[locked_by]} can lift this lock.")


def membership_of(actor: Actor, tenant: Tenant) -> Membership | None:
    """The actor's active place in the tenant."""
    if actor.type != ActorType.USER:
        return None
    with scope(tenant=tenant):
        return (
            Membership.objects.select_related("tenant", "user")
            .filter(tenant=tenant, user_id=UUID(hex=actor.id), user__is_active=True, state=Membership.State.ACTIVE)
            .first()
        )


def _platform(actor: Actor) -> LockAuthority | None:
    if actor.type in {ActorType.SYSTEM, ActorType.COMMAND}:
        return LockAuthority.SYSTEM
    if actor.type == ActorType.STAFF:
        return LockAuthority.STAFF
    if actor.type != ActorType.USER:
        raise NotPermitted
    return None
