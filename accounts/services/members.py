"""Services that change who belongs to a tenant.

``by`` is the member on whose authority it happens; permissions are checked against it. None is for management commands,
which have checked already. Staff are refused: whoever could bring themselves into a tenant could use what is in it.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone
from django_scopes import scope

from accounts.errors import Conflict, InvalidValue, LastOwner
from accounts.models import Invitation, Membership, Role, Tenant, User
from accounts.permissions import MemberPermission, can, require
from accounts.quotas import Quota, require_room
from accounts.selectors import pending_invitations
from accounts.services._common import write
from accounts.signals import membership_changed
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted

_State = Membership.State


@transaction.atomic
def add_member(
    *, actor: Actor, tenant: Tenant, user: User, role: str = Role.MEMBER, by: Membership | None = None
) -> Membership:
    """Give somebody a place in the tenant. Raises Invalid, QuotaReached, and Conflict if they have one."""
    refuse_staff(actor)
    if role not in Role.values:
        raise InvalidValue("There is no such role.")
    if by is not None:
        require(by, MemberPermission.INVITE, Role(role))
    require_room(tenant, Quota.MEMBERS)
    try:
        # A block of its own: on PostgreSQL a refused INSERT would make the caller's transaction useless.
        with transaction.atomic(), scope(tenant=tenant):
            membership = Membership.objects.create(tenant=tenant, user=user, role=role)
    except IntegrityError:
        raise Conflict("This person is a member already.") from None
    _tell(AuditTag.MEMBERSHIP_ADDED, actor, membership, role=role)
    return membership


@transaction.atomic
def change_role(*, actor: Actor, membership: Membership, role: str, by: Membership | None) -> Membership:
    """Raises NotPermitted, Invalid, Conflict, and LastOwner if nobody would be left in charge."""
    refuse_staff(actor)
    membership = _fresh(membership)
    if role not in Role.values:
        raise InvalidValue("There is no such role.")
    if by is not None:
        # Of whom, and to what: an administrator neither takes a role from an owner nor makes one.
        require(by, MemberPermission.CHANGE_ROLE, membership)
        require(by, MemberPermission.CHANGE_ROLE, Role(role))
    if membership.role == role:
        raise Conflict("That is their role already.")
    before = membership.role
    _keep_an_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    _withdraw_invitations(actor, membership)
    _tell(AuditTag.MEMBERSHIP_ROLE_CHANGED, actor, membership, before=before, role=role)
    return membership


@transaction.atomic
def suspend_member(*, actor: Actor, membership: Membership, by: Membership | None, reason: str = "") -> Membership:
    """Take away access and signing in this tenant, for a while. Raises NotPermitted, Conflict, LastOwner."""
    membership = _checked(actor, membership, MemberPermission.SUSPEND_MEMBER, by)
    if membership.state != _State.ACTIVE:
        raise Conflict("This member is suspended already.")
    _keep_an_owner(membership)
    return _set_state(actor, membership, _State.SUSPENDED, AuditTag.MEMBERSHIP_SUSPENDED, reason)


@transaction.atomic
def resume_member(*, actor: Actor, membership: Membership, by: Membership | None, reason: str = "") -> Membership:
    """Undo suspend_member. Raises NotPermitted, Conflict."""
    membership = _checked(actor, membership, MemberPermission.SUSPEND_MEMBER, by)
    if membership.state != _State.SUSPENDED:
        raise Conflict("This member is not suspended.")
    return _set_state(actor, membership, _State.ACTIVE, AuditTag.MEMBERSHIP_RESUMED, reason)


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership, by: Membership | None, reason: str = "") -> None:
    """End somebody's place in the tenant; their keys stay, unusable. Raises NotPermitted, LastOwner."""
    membership = _checked(actor, membership, MemberPermission.REMOVE_MEMBER, by)
    _keep_an_owner(membership)
    # Never saved: with it `can` refuses whatever they have invited to, so that those invitations end here.
    membership.state = _State.SUSPENDED
    _withdraw_invitations(actor, membership)
    _tell(AuditTag.MEMBERSHIP_REMOVED, actor, membership, reason=reason)
    membership.delete()


def _fresh(membership: Membership) -> Membership:
    """The row locked, and its tenant's row first, so that two owners cannot end each other at the same time."""
    Tenant.objects.select_for_update().get(id=membership.tenant_id)
    with scope(tenant=membership.tenant_id):
        rows = Membership.objects.select_for_update(of=("self",)).select_related("user", "tenant")
        found = rows.filter(id=membership.id, tenant_id=membership.tenant_id).first()
    if found is None:
        raise NotFound
    return found


def refuse_staff(actor: Actor) -> None:
    """Who belongs to a tenant is its own people's business. Raises NotPermitted."""
    if actor.type == ActorType.STAFF:
        raise NotPermitted("Staff change nobody's place in a tenant.")


def _checked(actor: Actor, membership: Membership, action: MemberPermission, by: Membership | None) -> Membership:
    refuse_staff(actor)
    membership = _fresh(membership)
    if by is not None:
        require(by, action, membership)
    return membership


def _set_state(actor: Actor, membership: Membership, state: Membership.State, tag: AuditTag, reason: str) -> Membership:
    membership.state = state
    membership.save(update_fields=["state"])
    _withdraw_invitations(actor, membership)
    _tell(tag, actor, membership, reason=reason)
    return membership


def _withdraw_invitations(actor: Actor, membership: Membership) -> None:
    """End the open invitations that somebody sent and, as they stand now, could not send any more."""
    with scope(tenant=membership.tenant_id):
        sent = pending_invitations(membership.tenant).filter(invited_by=membership.user_id)
        void = [one for one in sent if not can(membership, MemberPermission.INVITE, Role(one.role))]
        Invitation.objects.filter(id__in=[one.id for one in void]).update(withdrawn_at=timezone.now())
    for one in void:
        data = {"invitation": one.id.hex, "reason": "the inviter's role"}
        write(AuditTag.INVITATION_WITHDRAWN, actor, tenant_id=one.tenant_id, **data)


def _keep_an_owner(leaving: Membership) -> None:
    if leaving.role != Role.OWNER or leaving.state != _State.ACTIVE:
        return
    with scope(tenant=leaving.tenant_id):
        others = Membership.objects.filter(tenant_id=leaving.tenant_id, role=Role.OWNER, state=_State.ACTIVE)
        # An owner whose account is closed could not act for the tenant.
        if not others.exclude(id=leaving.id).filter(user__is_active=True).exists():
            raise LastOwner


def _tell(tag: AuditTag, actor: Actor, membership: Membership, **data: str) -> None:
    write(tag, actor, tenant_id=membership.tenant_id, user=membership.user_id.hex, **data)
    membership_changed.send(sender=Membership, object_id=membership.user_id, tenant_id=membership.tenant_id)
