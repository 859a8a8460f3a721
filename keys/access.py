"""Who may do what to a key (accounts.permissions decides for members), and on whose authority a state stands."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.conf import settings
from django_scopes import scope

from accounts import permissions
from accounts.models import LockAuthority, Membership, Tenant, User
from accounts.models.lock_authority import BY_WHOM, RANK
from accounts.permissions import MemberPermission
from accounts.staff.roles import StaffPermission, actor_has_permission
from keycast.audit.entries import Actor, ActorType
from keycast.base.errors import NotPermitted
from keys.errors import TooManyKeys
from keys.models import KeyState, PersonalKey
from keys.owner_seals import is_owned

NOT_OWNED: Final = "Whose key this is was changed outside this service. Please contact whoever runs it."
_NOT_FOUND: Final = (KeyState.DESTROYED, KeyState.FAILED)


def require_creator(actor: Actor, tenant: Tenant, user: User) -> None:
    """Keys are made by the person they are for, or by the platform; they belong to active members alone.

    Raises NotPermitted, and TooManyKeys for a person who makes more than ``KEYS_PER_USER``.
    """
    membership = _membership(user.id, tenant.id)
    if membership is None or user.locked_at is not None:
        raise NotPermitted("Only an active member can have a key here.")
    if _platform_authority(actor, StaffPermission.OPERATE) is None:
        if not _is(actor, user.id):
            raise NotPermitted
        permissions.require(membership, MemberPermission.CREATE_KEY)
        _require_room(tenant, user)


def _require_room(tenant: Tenant, user: User) -> None:
    with scope(tenant=tenant):
        kept = PersonalKey.objects.filter(tenant=tenant, user=user).exclude(state__in=_NOT_FOUND)
        if kept.count() >= settings.KEYS_PER_USER:
            raise TooManyKeys


def require_platform(actor: Actor, permission: StaffPermission = StaffPermission.OPERATE) -> None:
    """Those who run the platform: commands, jobs, and staff by ``permission``. Raises NotPermitted."""
    if _platform_authority(actor, permission) is None:
        raise NotPermitted


def require_manager(
    actor: Actor, key: PersonalKey, permission: StaffPermission = StaffPermission.OPERATE
) -> LockAuthority:
    """The authority of who may rename or destroy this key, staff by ``permission``. Raises NotPermitted, NotFound."""
    platform = _platform_authority(actor, permission)
    if platform is None:
        permissions.require(_membership_of(actor, key), MemberPermission.MANAGE_KEY, key)
        require_owned(key)
    return platform or LockAuthority.OWNER


def authority(actor: Actor, key: PersonalKey) -> LockAuthority:
    """The authority with which the actor can stop this key. Raises NotPermitted, NotFound."""
    platform = _platform_authority(actor, StaffPermission.LOCK)
    if platform is not None:
        return platform
    permissions.require(_membership_of(actor, key), MemberPermission.LOCK_KEY, key)
    return LockAuthority.OWNER if _is(actor, key.user_id) else LockAuthority.TENANT


def require_reversible(actor: Actor, key: PersonalKey) -> LockAuthority:
    """The actor's authority, if it is enough to bring the key back from its present state. Raises NotPermitted."""
    held = authority(actor, key)
    require_owned(key)
    if RANK[held] < RANK[key.state_set_by]:
        raise NotPermitted(f"Only {BY_WHOM[key.state_set_by]} can bring this key back into use.")
    return held


def require_owned(key: PersonalKey) -> None:
    """Raises NotPermitted for a key that somebody gave to its present owner past us (keys.owner_seals)."""
    if not is_owned(key):
        raise NotPermitted(NOT_OWNED)


def higher(one: str, other: str) -> LockAuthority:
    """The higher of two authorities: stopping a key again never makes it easier to bring back."""
    return LockAuthority(max(one, other, key=lambda set_by: RANK[set_by]))


def _platform_authority(actor: Actor, permission: StaffPermission) -> LockAuthority | None:
    if actor.type in {ActorType.SYSTEM, ActorType.COMMAND}:
        return LockAuthority.SYSTEM
    return LockAuthority.STAFF if actor_has_permission(actor, permission) else None


def _is(actor: Actor, user_id: UUID) -> bool:
    return actor.type == ActorType.USER and actor.id == user_id.hex


def _membership_of(actor: Actor, key: PersonalKey) -> Membership | None:
    return _membership(UUID(actor.id), key.tenant_id) if actor.type == ActorType.USER else None


def _membership(user_id: UUID, tenant_id: UUID) -> Membership | None:
    with scope(tenant=tenant_id):
        return (
            Membership.objects.select_related("tenant", "user")
            .filter(tenant_id=tenant_id, user_id=user_id, user__is_active=True, state=Membership.State.ACTIVE)
            .first()
        )
