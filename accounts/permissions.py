"""Who may do what in a tenant: the one place where that is decided. Default deny; a decision carries its reason.

Platform staff are not members: they act in the staff admin, and none of these rules lets them act for a member.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from accounts.account_seals import MEMBERSHIP
from accounts.models import Membership, Role, Tenant
from keycast.base.errors import NotFound, NotPermitted


class MemberPermission(StrEnum):
    """What can be asked. Those on a thing of a member's own need that thing as ``obj``."""

    VIEW_KEY = "view-key"
    CREATE_KEY = "create-key"
    MANAGE_KEY = "manage-key"
    LOCK_KEY = "lock-key"
    CONNECT_APP = "connect-app"
    VIEW_CONNECTION = "view-connection"
    MANAGE_CONNECTION = "manage-connection"
    REVOKE_CONNECTION = "revoke-connection"
    VIEW_PEOPLE = "view-people"
    INVITE = "invite"
    CHANGE_ROLE = "change-role"
    SUSPEND_MEMBER = "suspend-member"
    REMOVE_MEMBER = "remove-member"
    CHANGE_TENANT = "change-tenant"
    LOCK_TENANT = "lock-tenant"
    VIEW_AUDIT = "view-audit"


@dataclass(frozen=True, slots=True)
class PermissionGranted:
    """It may be done."""


@dataclass(frozen=True, slots=True)
class PermissionRefused:
    """It may not; ``reason`` is for the person who asked. ``is_hidden``: answer as if the thing did not exist."""

    reason: str
    is_hidden: bool = False


Decision = PermissionGranted | PermissionRefused
GRANTED: Final = PermissionGranted()

_ALL = frozenset(Role)
_LEADERS = frozenset({Role.OWNER, Role.ADMIN})
_MEMBERS = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER})

#: Roles that may do it with what is their own (or with nothing in particular).
_OWN: Final[dict[MemberPermission, frozenset[Role]]] = {
    MemberPermission.VIEW_KEY: _ALL,
    MemberPermission.CREATE_KEY: _MEMBERS,
    MemberPermission.MANAGE_KEY: _MEMBERS,
    MemberPermission.LOCK_KEY: _MEMBERS,
    MemberPermission.CONNECT_APP: _MEMBERS,
    MemberPermission.VIEW_CONNECTION: _ALL,
    MemberPermission.MANAGE_CONNECTION: _MEMBERS,
    MemberPermission.REVOKE_CONNECTION: _ALL,
    MemberPermission.VIEW_PEOPLE: frozenset({*_LEADERS, Role.AUDITOR}),
    MemberPermission.INVITE: _LEADERS,
    MemberPermission.CHANGE_ROLE: _LEADERS,
    MemberPermission.SUSPEND_MEMBER: _LEADERS,
    MemberPermission.REMOVE_MEMBER: _LEADERS,
    MemberPermission.CHANGE_TENANT: _LEADERS,
    MemberPermission.LOCK_TENANT: _LEADERS,
    MemberPermission.VIEW_AUDIT: frozenset({*_LEADERS, Role.AUDITOR}),
}
#: Roles that may do it with another member's thing: seeing and stopping, never using.
_OTHERS: Final[dict[MemberPermission, frozenset[Role]]] = {
    MemberPermission.VIEW_KEY: frozenset({*_LEADERS, Role.AUDITOR}),
    MemberPermission.LOCK_KEY: _LEADERS,
    MemberPermission.VIEW_CONNECTION: frozenset({*_LEADERS, Role.AUDITOR}),
    MemberPermission.REVOKE_CONNECTION: _LEADERS,
}
_ON_MEMBERS: Final = frozenset(
    {MemberPermission.CHANGE_ROLE, MemberPermission.SUSPEND_MEMBER, MemberPermission.REMOVE_MEMBER}
)
_NOT_YOURS: Final = PermissionRefused("There is no such thing here.", is_hidden=True)


def decide(membership: Membership | None, action: MemberPermission, obj: Any = None) -> Decision:
    """May the member do this, to ``obj`` if it concerns one thing?

    ``obj`` is a key (with ``tenant_id`` and ``user_id``), a connection (with ``tenant_id`` and ``key``), a Membership,
    or a Role somebody is to be given. A thing of another tenant is refused as if it did not exist.
    """
    if membership is None or membership.state != Membership.State.ACTIVE or not membership.user.is_active:
        return PermissionRefused("You are not an active member here.")
    if not MEMBERSHIP.fits(membership):
        return PermissionRefused("Your place here was changed outside this service. Please contact whoever runs it.")
    if membership.tenant.state == Tenant.State.SUSPENDED:
        return PermissionRefused("This tenant is suspended.")
    # Before any role is looked at: for a thing of another tenant the answer is the same whatever it is.
    if getattr(obj, "tenant_id", membership.tenant_id) != membership.tenant_id:
        return _NOT_YOURS
    if isinstance(obj, Membership | Role):
        return _decide_on_member(membership, action, obj)
    # None: nothing in particular, such as a list or a new key of one's own.
    owner = _owner(obj)
    if owner is None or owner == membership.user_id:
        return GRANTED if membership.role in _OWN[action] else _refused(membership)
    if membership.role in _OTHERS.get(action, ()):
        return GRANTED
    # Who may see others' things hears whose it is; to everybody else it does not exist.
    may_know = membership.role in _OTHERS[MemberPermission.VIEW_KEY]
    return PermissionRefused("This belongs to somebody else.") if may_know else _NOT_YOURS


def can(membership: Membership | None, action: MemberPermission, obj: Any = None) -> bool:
    """``decide`` as a yes or no, for templates and filters."""
    return isinstance(decide(membership, action, obj), PermissionGranted)


def require(membership: Membership | None, action: MemberPermission, obj: Any = None) -> None:
    """``decide`` as a guard. Raises NotPermitted with the reason, or NotFound where even existence is secret."""
    decision = decide(membership, action, obj)
    if isinstance(decision, PermissionRefused):
        raise NotFound if decision.is_hidden else NotPermitted(decision.reason)


def _owner(obj: Any) -> UUID | None:
    """Whose thing it is: a key's user, a connection's key's user; None for nobody's."""
    holder = getattr(obj, "key", obj)
    owner: UUID | None = getattr(holder, "user_id", None)
    return owner


def _decide_on_member(membership: Membership, action: MemberPermission, obj: Membership | Role) -> Decision:
    """Owners answer to nobody but owners, and nobody changes their own place."""
    if membership.role not in _OWN[action]:
        return _refused(membership)
    if action in _ON_MEMBERS and isinstance(obj, Membership) and obj.user_id == membership.user_id:
        return PermissionRefused("You cannot change your own place. Ask another owner.")
    role = obj.role if isinstance(obj, Membership) else obj
    if role == Role.OWNER and membership.role != Role.OWNER and action != MemberPermission.VIEW_PEOPLE:
        return PermissionRefused("Only an owner may do this.")
    return GRANTED


def _refused(membership: Membership) -> PermissionRefused:
    return PermissionRefused(f"As {Role(membership.role).label.lower()} you may not do this.")
