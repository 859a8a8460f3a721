"""Who of the support looked, for those it concerns; and what support may look up."""

from __future__ import annotations

from typing import Final

from django.db.models import Q, QuerySet
from django_scopes import scope, scopes_disabled

from accounts.models import Membership, Role, Tenant, User
from accounts.models.support import SupportView

SHOWN: Final = 20


def support_views_of(membership: Membership) -> QuerySet[SupportView]:
    """The newest looks at this person; for an owner also those at the tenant and at its members."""
    concerns = Q(person_id=membership.user_id)
    if membership.role == Role.OWNER:
        with scope(tenant=membership.tenant_id):
            members = Membership.objects.filter(tenant_id=membership.tenant_id).values("user_id")
            concerns |= Q(tenant_id=membership.tenant_id) | Q(person_id__in=members)
            return _newest(concerns)
    return _newest(concerns)


def own_views(user: User) -> QuerySet[SupportView]:
    """What this member of staff has opened, the newest first."""
    return SupportView.objects.filter(staff=user).select_related("tenant", "person")[:SHOWN]


def find(term: str) -> Tenant | User | None:
    """A tenant by slug or host name, or a person by e-mail address, each exactly: support does not browse."""
    term = term.strip().lower()
    if "@" in term:
        return User.objects.filter(email=term).first()
    # Staff look for a tenant by any of its host names.
    with scopes_disabled():
        by_host = Q(domains__host=term, domains__verified_at__isnull=False)
        return Tenant.objects.filter(Q(slug=term) | by_host).distinct().first()


def _newest(concerns: Q) -> QuerySet[SupportView]:
    return SupportView.objects.filter(concerns).select_related("staff", "tenant", "person")[:SHOWN]
