"""Tenant-scoped reads of connections for the portal, the admin and commands. Another's object reads as absent."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet

from accounts.models import Tenant, User
from bunker.models import Connection, ConnectionState
from keycast.base.errors import NotFound
from keys.models import PersonalKey

LIVE = Q(state__in=[ConnectionState.PENDING, ConnectionState.ACTIVE, ConnectionState.LOCKED])


def connections_of(*, tenant: Tenant, user: User, key: PersonalKey | None = None) -> QuerySet[Connection]:
    """The apps a user let in on own keys, newest first; bunker URLs that nobody used in time are left out."""
    found = Connection.objects.filter(tenant=tenant, key__user=user).exclude(state=ConnectionState.LAPSED)
    if key is not None:
        found = found.filter(key=key)
    return found.select_related("key", "transport").order_by("-created_at")


def connection_of(*, tenant: Tenant, user: User, connection_id: UUID) -> Connection:
    """One app of this user in this tenant. Raises NotFound for anything else, whoever it belongs to."""
    mine = Connection.objects.filter(tenant=tenant, key__user=user, id=connection_id)
    found = mine.select_related("key", "transport").first()
    if found is None:
        raise NotFound("There is no such app here.")
    return found


def with_app_counts(keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
    """Keys with ``app_count`` (live apps, unused URLs not counted) and ``used_at`` (last use by any app)."""
    live = Q(connections__state__in=[ConnectionState.ACTIVE, ConnectionState.LOCKED])
    return keys.annotate(
        app_count=Count("connections", filter=live, distinct=True), used_at=Max("connections__last_used_at")
    )
