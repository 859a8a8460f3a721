"""Invitations by e-mail: a token of 256 random bits that is stored hashed, works once, and for one address."""

from __future__ import annotations

import datetime
import hashlib
import secrets

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django_scopes import scope

from accounts.absolute_urls import origin
from accounts.account_seals import INVITATION
from accounts.errors import Conflict, InvalidValue, InvitationInvalid
from accounts.mail import send_later
from accounts.models import Invitation, Membership, Role, Tenant, User
from accounts.permissions import MemberPermission, can, require
from accounts.quotas import Quota, require_room
from accounts.selectors import membership_of, pending_invitations
from accounts.services._common import write
from accounts.services.members import add_member
from accounts.staff.roles import StaffPermission, require_actor
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted

LIFETIME = datetime.timedelta(days=7)
MAX_PENDING = 500
HOUR = datetime.timedelta(hours=1)
MAX_PER_HOUR = 5
"""Mails to one address: nobody is to be pestered in the name of a tenant."""


def token_hash(token: str) -> bytes:
    """What is stored of a token; plain SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@transaction.atomic
def invite(*, actor: Actor, tenant: Tenant, email: str, by: Membership | None, role: str = Role.MEMBER) -> Invitation:
    """Invite an e-mail address; the mail with the link leaves when the transaction commits.

    An earlier invitation of the same address ends. The answer is the same whether the address has an account
    elsewhere or not. Raises NotPermitted, Invalid, QuotaReached, Conflict if that person is a member already.
    """
    email = _checked_email(email)
    if role not in Role.values:
        raise InvalidValue("There is no such role.")
    if by is not None:
        require(by, MemberPermission.INVITE, Role(role))
    _require_founder(actor, tenant)
    _make_room(tenant, email)
    token = secrets.token_urlsafe(32)
    with scope(tenant=tenant):
        invitation = Invitation.objects.create(
            tenant=tenant,
            email=email,
            role=role,
            token_hash=token_hash(token),
            invited_by=by.user if by else None,
            expires_at=timezone.now() + LIFETIME,
        )
    write(AuditTag.INVITATION_SENT, actor, tenant_id=tenant.id, invitation=invitation.id.hex, email=email, role=role)
    _send(invitation, token)
    return invitation


@transaction.atomic
def withdraw_invitation(*, actor: Actor, invitation: Invitation, by: Membership | None) -> None:
    """Make an invitation worthless. Raises NotPermitted, and InvitationInvalid if it is not pending."""
    if by is not None:
        require(by, MemberPermission.INVITE, invitation)
    with scope(tenant=invitation.tenant_id):
        pending = pending_invitations(invitation.tenant).filter(id=invitation.id)
        if not pending.update(withdrawn_at=timezone.now()):
            raise InvitationInvalid
    write(AuditTag.INVITATION_WITHDRAWN, actor, tenant_id=invitation.tenant_id, invitation=invitation.id.hex)


def find_invitation(*, tenant: Tenant, token: str) -> Invitation | None:
    """The pending invitation to this tenant that the token stands for, if whoever sent it still might."""
    found = pending_invitations(tenant).filter(token_hash=token_hash(token)).first()
    if found is None or not INVITATION.fits(found):
        return None
    if found.invited_by is None:
        return found
    inviter = membership_of(found.invited_by, tenant)
    return found if can(inviter, MemberPermission.INVITE, Role(found.role)) else None


@transaction.atomic
def accept_invitation(*, tenant: Tenant, token: str, user: User) -> Membership:
    """Use an invitation up and become a member. Raises InvitationInvalid, and Conflict for a member.

    ``user`` must own the invited address: the one of their account, which sign-in has verified.
    """
    invitation = find_invitation(tenant=tenant, token=token)
    # A link can be passed on; the invitation is for the address that it was sent to.
    if invitation is None or invitation.email != user.email.lower():
        raise InvitationInvalid
    with scope(tenant=tenant):
        # The condition is in the UPDATE: of two who accept at the same time, one finds it used up.
        if not pending_invitations(tenant).filter(id=invitation.id).update(accepted_at=timezone.now()):
            raise InvitationInvalid
    actor = Actor.user(user)
    write(AuditTag.INVITATION_ACCEPTED, actor, tenant_id=tenant.id, invitation=invitation.id.hex)
    return add_member(actor=actor, tenant=tenant, user=user, role=invitation.role)


def _require_founder(actor: Actor, tenant: Tenant) -> None:
    """Staff invite the first owner of a tenant that has nobody yet, and that is all. Raises NotPermitted."""
    if actor.type != ActorType.STAFF:
        return
    require_actor(actor, StaffPermission.MANAGE_TENANTS)
    with scope(tenant=tenant):
        if Membership.objects.filter(tenant=tenant).exists():
            raise NotPermitted("Staff bring nobody into a tenant that has people.")


def _checked_email(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidValue("This is not a valid e-mail address.") from None
    return email


def _make_room(tenant: Tenant, email: str) -> None:
    with scope(tenant=tenant):
        if Membership.objects.filter(tenant=tenant, user__email=email).exists():
            raise Conflict("This person is a member already.")
        lately = Invitation.objects.filter(tenant=tenant, email=email, created_at__gt=timezone.now() - HOUR)
        if lately.count() >= MAX_PER_HOUR:
            raise Conflict("This address was invited several times within the last hour. Please wait.")
        pending = pending_invitations(tenant)
        # Before the count: the new one takes the place of an earlier one.
        pending.filter(email=email).update(withdrawn_at=timezone.now())
        waiting = pending.count()
        if waiting >= MAX_PENDING:
            raise Conflict("Too many invitations are pending. Withdraw some first.")
    # All that are open may be accepted, so they count as if they had been.
    require_room(tenant, Quota.MEMBERS, waiting + 1)


def _send(invitation: Invitation, token: str) -> None:
    tenant = invitation.tenant
    context = {
        "tenant": tenant,
        "invitation": invitation,
        "url": origin(tenant) + reverse("accounts_invitation", args=[token]),
    }
    subject = f"Invitation to {tenant.name}"
    body = render_to_string("accounts/email/invitation.txt", context)
    send_later(to=invitation.email, subject=subject, text=body)
