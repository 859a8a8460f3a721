"""Who may do what to a connection: members by accounts.permissions, the platform only to stop things.

Platform staff may lock and revoke, never connect an app: a bunker URL in their hands would sign as the user. They
unlock what staff locked, and an owner cannot undo their lock.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django_scopes import scope

from accounts import permissions
from accounts.models import Membership
from accounts.permissions import MemberPermission
from accounts.staff.roles import StaffPermission, actor_has_permission
from keycast.audit.entries import Actor
from keycast.base.errors import NotPermitted
from keys.models import PersonalKey, SetBy

_RANK: Final = {SetBy.OWNER: 0, SetBy.TENANT: 1, SetBy.STAFF: 2, SetBy.SYSTEM: 3}
_BY_WHOM: Final = {
    SetBy.OWNER: "its owner",
    SetBy.TENANT: "an administrator",
    SetBy.STAFF: "the platform's staff",
    SetBy.SYSTEM: "the server's operators",
}
_STOPPING = frozenset({MemberPermission.REVOKE_CONNECTION})


def require(actor: Actor, action: MemberPermission, key: PersonalKey) -> None:
    """Let the actor do this to a connection of ``key``, or to ``key`` itself. Raises NotPermitted, NotFound.

    ``system`` and ``command`` actors act on the server itself and are not asked.
    """
    if actor.type in {"system", "command"}:
        return
    if actor.type == "staff":
        if action not in _STOPPING or not actor_has_permission(actor, StaffPermission.LOCK):
            raise NotPermitted
        return
    if actor.type != "user":
        raise NotPermitted
    permissions.require(_membership(UUID(actor.id), key.tenant_id), action, key)


def authority(actor: Actor, key: PersonalKey) -> SetBy:
    """On whose authority the actor locks a connection of ``key``. Raises NotPermitted, NotFound."""
    require(actor, MemberPermission.REVOKE_CONNECTION, key)
    if actor.type == "staff":
        return SetBy.STAFF
    if actor.type != "user":
        return SetBy.SYSTEM
    return SetBy.OWNER if actor.id == key.user_id.hex else SetBy.TENANT


def require_unlocker(actor: Actor, key: PersonalKey, locked_by: str) -> None:
    """Only whoever could have locked it may unlock it; what its owner locked, only its owner. Raises NotPermitted."""
    held = authority(actor, key)
    is_owners = locked_by == SetBy.OWNER
    if (is_owners and held not in {SetBy.OWNER, SetBy.SYSTEM}) or _RANK[held] < _RANK[SetBy(locked_by)]:
        raise NotPermitted(f"Only {_BY_WHOM[SetBy(locked_by)]} can unlock this app.")
    if held is SetBy.OWNER:
        require(actor, MemberPermission.MANAGE_CONNECTION, key)


def higher(one: str, other: SetBy) -> SetBy:
    """The higher of two authorities; ``one`` may be empty."""
    return other if not one or _RANK[SetBy(one)] < _RANK[other] else SetBy(one)


def _membership(user_id: UUID, tenant_id: UUID) -> Membership | None:
    with scope(tenant=tenant_id):
        return Membership.objects.select_related("tenant", "user").filter(tenant_id=tenant_id, user_id=user_id).first()
