"""Services that change people as such, whatever tenants they belong to. Their rows stand in the platform's chain."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from accounts.errors import Conflict, InvalidValue
from accounts.models import StaffRole, User
from accounts.models.lock_authority import RANK
from accounts.panic.authority import over_person
from accounts.services._common import write
from accounts.services.staff import make_staff, require_staff_manager
from accounts.signals import user_changed
from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted

UNLOCK = "unlock-user"
"""Kind of request (accounts.staff.approvals) for ``unlock_user``."""


@transaction.atomic
def create_user(
    *,
    actor: Actor,
    email: str,
    name: str = "",
    password: str | None = None,
    is_staff: bool = False,
    staff_role: str = StaffRole.OPERATOR,
) -> User:
    """Make an account whose e-mail address the actor vouches for; without a password, sign-in is by e-mailed code.

    With ``is_staff`` it is one of platform staff, in ``staff_role``. Raises Invalid for an address or a password that
    will not do, Conflict if the address has an account; NotPermitted and ApprovalRequired for staff actors.
    """
    require_actor(actor, StaffPermission.MANAGE_PEOPLE)
    email = email.strip().lower()
    _check(email, password)
    if User.objects.filter(email=email).exists() or EmailAddress.objects.filter(email__iexact=email).exists():
        raise Conflict("There is already an account with this e-mail address.")
    user = User.objects.create_user(email, password, name=name.strip())
    # allauth keeps addresses in a table of its own, which also says that this one needs no proof any more.
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    write(AuditTag.USER_CREATED, actor, user=user.id.hex, email=email)
    return make_staff(actor=actor, user=user, role=staff_role) if is_staff else user


def _check(email: str, password: str | None) -> None:
    try:
        validate_email(email)
        if password is not None:
            validate_password(password, User(email=email))
    except ValidationError as error:
        raise InvalidValue(" ".join(error.messages)) from None


@transaction.atomic
def lock_user(*, actor: Actor, user: User, reason: str = "") -> User:
    """Stop all signing for the person, in every tenant, at once: by themselves, staff, or on the server.

    Raises Conflict if locked already with the same or a higher authority, NotPermitted.
    """
    user = _fresh(user)
    require_actor(actor, StaffPermission.LOCK)
    held = over_person(actor, user)
    if user.locked_at and RANK[held] <= RANK[user.locked_by]:
        raise Conflict("This account is locked already.")
    # A lock that is taken over is as old as it was: only who may lift it changes.
    user.locked_at, user.locked_by = user.locked_at or timezone.now(), held
    return _saved(user, AuditTag.USER_LOCKED, actor, "locked_at", "locked_by", reason=reason, locked_by=held)


@transaction.atomic
def unlock_user(*, actor: Actor, user: User, reason: str = "", approval_proof: ApprovalProof | None = None) -> User:
    """Undo lock_user: two persons for staff; members ask for a release (accounts.panic). Raises Conflict unless locked.

    Raises ApprovalRequired, NotPermitted.
    """
    require_actor(actor, StaffPermission.LOCK)
    if actor.type == ActorType.USER:
        raise NotPermitted("Ask for it to be unlocked; another person decides.")
    proof = use_proof(actor=actor, kind=UNLOCK, target_id=user.id.hex, approval_proof=approval_proof)
    return lift_lock(actor=actor, user=user, reason=reason, proof=proof)


@transaction.atomic
def lift_lock(*, actor: Actor, user: User, reason: str, proof: dict[str, str]) -> User:
    """For the two-person rules alone, which have decided and give their ``proof``. Raises Conflict unless locked."""
    user = _fresh(user)
    if not user.locked_at:
        raise Conflict("This account is not locked.")
    user.locked_at, user.locked_by = None, ""
    return _saved(user, AuditTag.USER_UNLOCKED, actor, "locked_at", "locked_by", reason=reason, **proof)


@transaction.atomic
def deactivate_user(*, actor: Actor, user: User, reason: str = "") -> User:
    """Close the account: no sign-in, its sessions end with their next request, no signing."""
    return _activate(_fresh(user), False, AuditTag.USER_DEACTIVATED, actor, reason)


@transaction.atomic
def reactivate_user(*, actor: Actor, user: User, reason: str = "") -> User:
    """Undo deactivate_user."""
    return _activate(_fresh(user), True, AuditTag.USER_REACTIVATED, actor, reason)


@transaction.atomic
def rename_user(*, actor: Actor, user: User, name: str) -> User:
    """Change the name shown to others. Raises Invalid."""
    user = _fresh(user)
    user.name = name.strip()
    if len(user.name) > 100 or not user.name.isprintable():
        raise InvalidValue("A name has at most 100 characters.")
    return _saved(user, AuditTag.USER_CHANGED, actor, "name", reason="")


def _fresh(user: User) -> User:
    return User.objects.select_for_update().get(id=user.id)


def _activate(user: User, is_active: bool, tag: AuditTag, actor: Actor, reason: str) -> User:
    require_actor(actor, StaffPermission.MANAGE_PEOPLE)
    require_staff_manager(actor, user)
    if user.is_active == is_active:
        raise Conflict("Nothing to change.")
    user.is_active = is_active
    return _saved(user, tag, actor, "is_active", reason=reason)


def _saved(user: User, tag: AuditTag, actor: Actor, *fields: str, **data: Any) -> User:
    user.save(update_fields=fields)
    write(tag, actor, user=user.id.hex, **data)
    user_changed.send(sender=User, object_id=user.id)
    return user
