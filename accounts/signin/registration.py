"""Who may sign up at a tenant, and what happens when they do."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest

from accounts.models import Invitation, Tenant, User
from accounts.quotas import Quota, QuotaReached, require_room
from accounts.selectors import membership_of
from accounts.services import accept_invitation, add_member, find_invitation
from accounts.services._common import write
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag

SESSION_TOKEN = "invitation"  # noqa: S105 -- the name under which the session keeps it


def tenant_of(request: HttpRequest) -> Tenant | None:
    """The tenant of the request's host; None on a platform host."""
    return getattr(request, "tenant", None)


def invitation_of(request: HttpRequest) -> Invitation | None:
    """The pending invitation whose link this visitor has followed."""
    tenant, token = tenant_of(request), request.session.get(SESSION_TOKEN, "")
    return find_invitation(tenant=tenant, token=token) if tenant and token else None


def may_sign_up(request: HttpRequest) -> bool:
    """Open: anyone. By invitation: whoever followed a valid link. Closed, or a platform host: nobody."""
    tenant = tenant_of(request)
    if tenant is None or tenant.registration == Tenant.Registration.CLOSED:
        return False
    if invitation_of(request) is not None:
        return True
    return tenant.registration == Tenant.Registration.OPEN and _has_room(tenant)


@transaction.atomic
def welcome(request: HttpRequest, user: User, *, is_new: bool) -> None:
    """Give somebody who signed up or in the place they are entitled to: by their invitation, or where anyone may join.

    An open tenant is joined when the sign-in is complete, so never with an unverified address.
    """
    tenant = tenant_of(request)
    if is_new:
        write(AuditTag.USER_CREATED, Actor.user(user), user=user.id.hex, email=user.email)
    # Not when the account is made: then the address is not verified yet, and an invitation is for an address.
    elif tenant is not None and membership_of(user, tenant) is None:
        try:
            _join(request, tenant, user)
        except QuotaReached as full:  # signed in all the same, and told why there is nothing here for them
            messages.error(request, full.public_message)


@transaction.atomic
def _has_room(tenant: Tenant) -> bool:
    try:
        require_room(tenant, Quota.MEMBERS)
    except QuotaReached:
        return False
    return True


def _join(request: HttpRequest, tenant: Tenant, user: User) -> None:
    invitation = invitation_of(request)
    if invitation is not None and invitation.email == user.email.lower():
        accept_invitation(tenant=tenant, token=request.session.pop(SESSION_TOKEN), user=user)
    elif tenant.registration == Tenant.Registration.OPEN:
        add_member(actor=Actor.user(user), tenant=tenant, user=user)
