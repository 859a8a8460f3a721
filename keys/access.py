"""Who may do what to a key, and on whose authority a state stands."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django_scopes import scopes_disabled

from accounts.models import Membership, Role, Tenant, User
from keycast.audit.entries import Actor
from keycast.errors import NotPermitted
from keys.models import PersonalKey, SetBy

_RANK: Final[dict[str, int]] = {SetBy.OWNER: 0, SetBy.TENANT: 1, SetBy.STAFF: 2, SetBy.SYSTEM: 3}


def require_owner(actor: Actor, tenant: Tenant, user: User) -> None:
    """Only the person, or the platform, may make keys for them, rename or destroy them. Raises NotPermitted."""
    if _platform_authority(actor) is None and not (_is(actor, user.id) and _membership(actor, tenant.id)):
        raise NotPermitted


def require_member(tenant: Tenant, user: User) -> None:
    """Keys belong to active members alone. Raises NotPermitted."""
    if not user.is_active or user.locked_at is not None or _membership_of(user.id, tenant.id) is None:
        raise NotPermitted("Only an active member can have a key here.")


def authority(actor: Actor, key: PersonalKey) -> SetBy:
    """On whose authority the actor can stop this key. Raises NotPermitted when on nobody's."""
    platform = _platform_authority(actor)
    if platform is not None:
        return platform
    membership = _membership(actor, key.tenant_id)
    if membership is not None and _is(actor, key.user_id):
        return SetBy.OWNER
    if membership is not None and membership.role in {Role.OWNER, Role.ADMIN}:
        return SetBy.TENANT
    raise NotPermitted


def require_reversible(actor: Actor, key: PersonalKey) -> SetBy:
    """The actor's authority, if it is enough to bring back what the key's present state was set by."""
    held = authority(actor, key)
    if held == SetBy.OWNER and key.state_set_by == SetBy.TENANT and _administers(actor, key.tenant_id):
        return SetBy.TENANT
    if _RANK[held] < _RANK[key.state_set_by]:
        raise NotPermitted(f"Only {_BY_WHOM[key.state_set_by]} can bring this key back into use.")
    return held


_BY_WHOM: Final[dict[str, str]] = {
    SetBy.OWNER: "its owner",
    SetBy.TENANT: "an administrator",
    SetBy.STAFF: "the platform's staff",
    SetBy.SYSTEM: "the server's operators",
}


def higher(one: str, other: str) -> SetBy:
    """The higher of two authorities: stopping a key again never makes it easier to bring back."""
    return SetBy(max(one, other, key=lambda set_by: _RANK[set_by]))


def _platform_authority(actor: Actor) -> SetBy | None:
    if actor.type in {"system", "command"}:
        return SetBy.SYSTEM
    if actor.type == "staff" and User.objects.filter(pk=actor.id, is_staff=True, is_active=True).exists():
        return SetBy.STAFF
    return None


def _is(actor: Actor, user_id: UUID) -> bool:
    return actor.type == "user" and actor.id == user_id.hex


def _administers(actor: Actor, tenant_id: UUID) -> bool:
    membership = _membership(actor, tenant_id)
    return membership is not None and membership.role in {Role.OWNER, Role.ADMIN}


def _membership(actor: Actor, tenant_id: UUID) -> Membership | None:
    return _membership_of(UUID(actor.id), tenant_id) if actor.type == "user" else None


def _membership_of(user_id: UUID, tenant_id: UUID) -> Membership | None:
    with scopes_disabled():
        found: Membership | None = Membership.objects.filter(
            tenant_id=tenant_id, user_id=user_id, user__is_active=True, state=Membership.State.ACTIVE
        ).first()
    return found
