"""Who of the platform's staff may do what: the one table where that is decided. Default deny.

The admin's pages ask ``may`` and ``require`` with the signed-in person, services ask ``require_actor`` with the actor
they were given, so that a page that forgot to ask lets nobody through. docs/security-model.md repeats the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from allauth.mfa.utils import is_mfa_enabled
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.account_seals import is_sealed
from accounts.models import StaffRole, User
from accounts.staff.gate import SECOND_FACTORS, is_admitted
from keycast.audit.entries import Actor, ActorType
from keycast.base.errors import NotPermitted

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


SECOND_FACTOR_ATTRIBUTE = "_keycast_has_second_factor"


class StaffPermission(StrEnum):
    """What staff can be asked to do. Its title, for people, is in ``TITLES``."""

    VIEW = "view"
    SUPPORT_VIEW = "support-view"
    VIEW_AUDIT = "view-audit"
    EXPORT_AUDIT = "export-audit"
    LOCK = "lock"
    OPERATE = "operate"
    CONVERT = "convert"
    MANAGE_TENANTS = "manage-tenants"
    MANAGE_PEOPLE = "manage-people"
    DESTROY = "destroy"
    PANIC = "panic"
    MANAGE_STAFF = "manage-staff"
    APPROVE = "approve"


TITLES: Final[dict[StaffPermission, str]] = {
    StaffPermission.VIEW: "See the overview, tenants, people, keys, apps, workers, jobs and requests for approval",
    StaffPermission.SUPPORT_VIEW: "Open a support view of one tenant or person, which they are told of",
    StaffPermission.VIEW_AUDIT: "Read and verify the audit log",
    StaffPermission.EXPORT_AUDIT: "Take the audit log out",
    StaffPermission.LOCK: "Lock and unlock a key or an app; disable, enable, revoke; lock a person, ask to unlock one",
    StaffPermission.OPERATE: "Retry jobs, rotate, rename, clean up",
    StaffPermission.CONVERT: "Move a key to another key mode",
    StaffPermission.MANAGE_TENANTS: "Create and change tenants; ask to lock or suspend one",
    StaffPermission.MANAGE_PEOPLE: "Deactivate and reactivate people who are not staff",
    StaffPermission.DESTROY: "Ask for the destruction of a key; cancel one",
    StaffPermission.PANIC: "Lock the deployment; ask to unlock it",
    StaffPermission.MANAGE_STAFF: "Ask to make staff or change a role; end staff",
    StaffPermission.APPROVE: "Decide on what another person asked for",
}

_OPERATOR, _OFFICER = StaffRole.OPERATOR, StaffRole.SECURITY_OFFICER
_AUDITOR, _SUPPORT = StaffRole.AUDITOR, StaffRole.SUPPORT

PERMISSIONS: Final[dict[StaffPermission, frozenset[StaffRole]]] = {
    StaffPermission.VIEW: frozenset({_OPERATOR, _OFFICER, _AUDITOR}),
    StaffPermission.SUPPORT_VIEW: frozenset({_OPERATOR, _OFFICER, _SUPPORT}),
    StaffPermission.VIEW_AUDIT: frozenset({_OPERATOR, _OFFICER, _AUDITOR}),
    StaffPermission.EXPORT_AUDIT: frozenset({_OFFICER, _AUDITOR}),
    StaffPermission.LOCK: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.OPERATE: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.CONVERT: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.MANAGE_TENANTS: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.MANAGE_PEOPLE: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.DESTROY: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.PANIC: frozenset({_OPERATOR, _OFFICER}),
    StaffPermission.MANAGE_STAFF: frozenset({_OFFICER}),
    StaffPermission.APPROVE: frozenset({_OFFICER}),
}
"""THE table. A permission that is not in it is nobody's."""


def is_staff(user: User | AnonymousUser) -> bool:
    """Tell whether this is an active member of the platform's staff, made so by a process of ours."""
    return bool(user.is_active and user.is_staff) and isinstance(user, User) and is_sealed(user)


def has_second_factor(user: User | AnonymousUser) -> bool:
    """Tell whether the account has more than a password. That this session used it, proved_second_factor tells.

    Asked many times a page, so the answer is kept on ``user``, which lives as long as the request.
    """
    known: bool | None = getattr(user, SECOND_FACTOR_ATTRIBUTE, None)
    if known is None:
        known = bool(user.is_authenticated and is_mfa_enabled(user, SECOND_FACTORS))
        setattr(user, SECOND_FACTOR_ATTRIBUTE, known)
    return known


def proved_second_factor(request: HttpRequest) -> bool:
    """Tell whether active staff proved a second factor in this session; kept on the request, which asks many times."""
    known: bool | None = getattr(request, SECOND_FACTOR_ATTRIBUTE, None)
    if known is None:
        known = is_admitted(request)
        setattr(request, SECOND_FACTOR_ATTRIBUTE, known)
    return known


def has_permission(user: User | AnonymousUser, permission: StaffPermission) -> bool:
    """Tell whether the person's role has this permission. ``is_superuser`` counts for nothing."""
    return is_staff(user) and getattr(user, "staff_role", "") in PERMISSIONS.get(permission, frozenset())


def may(user: User | AnonymousUser, permission: StaffPermission) -> bool:
    """Tell whether ``user`` may do this in the admin: by role, and with a second factor set up."""
    return has_permission(user, permission) and has_second_factor(user)


def require(user: User | AnonymousUser, permission: StaffPermission) -> None:
    """``may`` as a guard. Raises NotPermitted, saying what is missing."""
    if may(user, permission):
        return
    if is_staff(user) and not has_second_factor(user):
        raise NotPermitted("This needs a second factor.")
    raise NotPermitted(f"This is not one of your duties: {TITLES[permission].lower()}.")


def require_actor(actor: Actor, permission: StaffPermission) -> None:
    """For services: a staff actor must hold ``permission`` now, read from the database; others are not asked here.

    Members answer to accounts.permissions; ``system`` and ``command`` act on the server itself. Raises NotPermitted.
    """
    if actor.type == ActorType.STAFF and not actor_has_permission(actor, permission):
        raise NotPermitted(f"This is not one of your duties: {TITLES[permission].lower()}.")


def actor_has_permission(actor: Actor, permission: StaffPermission) -> bool:
    """Tell whether this is an active member of staff whose role has the permission."""
    if actor.type != ActorType.STAFF:
        return False
    try:
        person = User.objects.filter(pk=actor.id).first()
    except (ValidationError, ValueError):
        return False
    return person is not None and has_permission(person, permission)
