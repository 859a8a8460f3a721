"""Tenant-scoped reads of connections for the portal, the admin and commands. Another's object reads as absent."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet

from accounts.models import Tenant, User
from bunker.models import Connection, ConnectionState, Request, RequestState
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


class ConnectAnswer(StrEnum):
    """What became of the answer to a ``nostrconnect://`` URI."""

    WAITING = "waiting"
    TAKEN = "taken"
    """A relay said OK; the app hears it if it listens there."""
    NOT_TAKEN = "not-taken"
    """No relay of the app took it in time, and it is not tried again."""


_CONNECT_ANSWERS = {
    RequestState.PUBLISHED.value: ConnectAnswer.TAKEN,
    RequestState.ABANDONED.value: ConnectAnswer.NOT_TAKEN,
}


def connect_answer_id(connection_id: UUID) -> str:
    """The request id under which the answer is stored; the client asked for it by its URI alone, so it chose none."""
    return f"nostrconnect:{connection_id.hex}"


def connect_answer_of(connection: Connection) -> ConnectAnswer | None:
    """How far the answer to the app's URI has come, for a day; None for an app in use, or one of a bunker URL."""
    if connection.use_count or not connection.client_public_key:
        return None
    states = Request.objects.filter(
        transport_id=connection.transport_id,
        client_public_key=connection.client_public_key,
        request_id=connect_answer_id(connection.id),
    ).values_list("state", flat=True)
    return next((_CONNECT_ANSWERS.get(state, ConnectAnswer.WAITING) for state in states), None)


def with_app_counts(keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
    """Keys with ``app_count`` (live apps, unused URLs not counted) and ``used_at`` (last use by any app)."""
    live = Q(connections__state__in=[ConnectionState.ACTIVE, ConnectionState.LOCKED])
    return keys.annotate(
        app_count=Count("connections", filter=live, distinct=True), used_at=Max("connections__last_used_at")
    )
