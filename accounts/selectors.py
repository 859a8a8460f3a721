"""Tenant-scoped reads. Each names its tenant itself, so it answers the same inside and outside a request's scope."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django_scopes import scope

from accounts.account_seals import MEMBERSHIP
from accounts.models import Invitation, Membership, Tenant, TenantDomain, User
from keycast.base.errors import NotFound


def membership_of(user: User, tenant: Tenant) -> Membership | None:
    """The user's place in the tenant in whatever state, or None. Only an active one grants anything."""
    with scope(tenant=tenant):
        return Membership.objects.select_related("tenant", "user").filter(user=user, tenant=tenant).first()


def active_membership_of(user: User, tenant: Tenant) -> Membership | None:
    """The user's place in the tenant if it grants anything: the user, the membership and the tenant are all usable."""
    membership = membership_of(user, tenant)
    if membership is None or membership.state != Membership.State.ACTIVE or not user.is_active:
        return None
    if not MEMBERSHIP.fits(membership):
        return None
    return None if tenant.state == Tenant.State.SUSPENDED else membership


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    """Everybody with a place in the tenant, by e-mail address, their users fetched along."""
    with scope(tenant=tenant):
        return Membership.objects.filter(tenant=tenant).select_related("user", "tenant").order_by("user__email")


def get_member(tenant: Tenant, membership_id: int) -> Membership:
    """One place in the tenant. Raises NotFound, for another tenant's too."""
    found = members_of(tenant).filter(id=membership_id).first()
    if found is None:
        raise NotFound
    return found


def tenants_of(user: User) -> list[Tenant]:
    """The tenants in which the user has an active place, by name."""
    return list(
        Tenant.objects.filter(memberships__user=user, memberships__state=Membership.State.ACTIVE)
        .exclude(state=Tenant.State.SUSPENDED)
        .order_by("name")
    )


def pending_invitations(tenant: Tenant) -> QuerySet[Invitation]:
    """Invitations that can still be accepted, newest first."""
    with scope(tenant=tenant):
        return Invitation.objects.filter(
            tenant=tenant, accepted_at__isnull=True, withdrawn_at__isnull=True, expires_at__gt=timezone.now()
        ).select_related("invited_by")


def get_invitation(tenant: Tenant, invitation_id: UUID) -> Invitation:
    """One pending invitation of the tenant. Raises NotFound."""
    found = pending_invitations(tenant).filter(id=invitation_id).first()
    if found is None:
        raise NotFound
    return found


def domains_of(tenant: Tenant) -> list[TenantDomain]:
    """The tenant's host names, the primary one first."""
    with scope(tenant=tenant):
        return list(TenantDomain.objects.filter(tenant=tenant))


def get_domain(tenant: Tenant, domain_id: int) -> TenantDomain:
    """One of the tenant's host names, proved or claimed. Raises NotFound, for another tenant's too."""
    with scope(tenant=tenant):
        found = TenantDomain.objects.filter(tenant=tenant, id=domain_id).first()
    if found is None:
        raise NotFound
    return found


def primary_host(tenant: Tenant) -> str:
    """The host name in addresses given out for this tenant, such as its built-in relay's. Raises NotFound."""
    with scope(tenant=tenant):
        domain = TenantDomain.objects.filter(tenant=tenant, verified_at__isnull=False).first()
    if domain is None:
        raise NotFound("This tenant has no verified host name.")
    return domain.host
