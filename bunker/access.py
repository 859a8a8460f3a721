"""Who may do what to a connection: members by accounts.permissions, the platform only to stop things.

Platform staff may lock and revoke, never connect an app: a bunker URL in their hands would sign as the user. They
unlock what staff locked, and an owner cannot undo their lock.
"""

from __future__ import annotations

from uuid import UUID

from django_scopes import scope

from accounts import permissions
from accounts.models import LockAuthority, Membership
from accounts.models.lock_authority import BY_WHOM, RANK
from accounts.permissions import MemberPermission
from accounts.staff.roles import StaffPermission, actor_has_permission
from keycast.audit.entries import Actor, ActorType
from keycast.base.errors import NotPermitted
from keys.access import NOT_OWNED
from keys.models import PersonalKey
from keys.owner_seals import is_owned

_STOPPING = frozenset({MemberPermission.REVOKE_CONNECTION})


def require(actor: Actor, action: MemberPermission, key: PersonalKey) -> None:
    """Let the actor do this to a connection of ``key``, or to ``key`` itself. Raises NotPermitted, NotFound.

    ``system`` and ``command`` actors act on the server itself and are not asked.
    """
    if actor.type in {ActorType.SYSTEM, ActorType.COMMAND}:
        return
    if actor.type == ActorType.STAFF:
        if action not in _STOPPING or not actor_has_permission(actor, StaffPermission.LOCK):
            raise NotPermitted
        return
    if actor.type != ActorType.USER:
        raise NotPermitted
    permissions.require(_membership(UUID(actor.id), key.tenant_id), action, key)
    # Whoever can stop something may; everything else is for the owner that we gave the key to.
    if action not in _STOPPING and not is_owned(key):
        raise NotPermitted(NOT_OWNED)


def authority(actor: Actor, key: PersonalKey) -> LockAuthority:
    """On whose authority the actor locks a connection of ``key``. Raises NotPermitted, NotFound."""
    require(actor, MemberPermission.REVOKE_CONNECTION, key)
    if actor.type == ActorType.STAFF:
        return LockAuthority.STAFF
    if actor.type != ActorType.USER:
        return LockAuthority.SYSTEM
    return LockAuthority.OWNER if actor.id == key.user_id.hex else LockAuthority.TENANT


def require_unlocker(actor: Actor, key: PersonalKey, locked_by: str) -> None:
    """Only whoever could have locked it may unlock it; what its owner locked, only its owner. Raises NotPermitted."""
    held = authority(actor, key)
    is_owners = locked_by == LockAuthority.OWNER
    is_anothers = is_owners and held not in {LockAuthority.OWNER, LockAuthority.SYSTEM}
    if is_anothers or RANK[held] < RANK[LockAuthority(locked_by)]:
        raise NotPermitted(f"Only {BY_WHOM[locked_by]} can unlock this app.")
    if held is LockAuthority.OWNER:
        require(actor, MemberPermission.MANAGE_CONNECTION, key)


def higher(one: str, other: LockAuthority) -> LockAuthority:
    """The higher of two authorities; ``one`` may be empty."""
    return other if not one or RANK[one] < RANK[other] else LockAuthority(one)


def _membership(user_id: UUID, tenant_id: UUID) -> Membership | None:
    with scope(tenant=tenant_id):
        return Membership.objects.select_related("tenant", "user").filter(tenant_id=tenant_id, user_id=user_id).first()
