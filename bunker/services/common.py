"""What the services on connections share: checks of what a person typed, and the audit row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from accounts.quotas import Quota, require_room
from bunker.changes import ChangeKind, publish
from bunker.errors import InvalidConnection, TooManyConnections
from bunker.models import Connection
from bunker.services.relay_urls import relays_for
from bunker.services.tenants import LIVE_STATES, first_relays, relays_in_quota
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.text import one_line
from keys.models import PersonalKey

MAX_NAME = 100
MAX_LIVE_CONNECTIONS = 200
MAX_RELAYS_OF_A_PERSON = 20
"""Relays that all apps of one person may name in a tenant; connections to relays are shared by everybody."""


def clean_name(name: str) -> str:
    cleaned = one_line(name, MAX_NAME)
    if not cleaned:
        raise InvalidConnection("Give the app a name, so that you recognise it later.", code="name-missing")
    return cleaned


def check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidConnection("The end of the app's access must lie in the future.", code="expiry-past")


def check_connection_limit(key: PersonalKey) -> None:
    live = Connection.objects.filter(tenant_id=key.tenant_id, key=key, state__in=LIVE_STATES).count()
    if live >= MAX_LIVE_CONNECTIONS:
        raise TooManyConnections
    require_room(key.tenant, Quota.APPS)


def relays_in_bounds(key: PersonalKey, relays: Sequence[str]) -> list[str]:
    """Those of an app's ``relays`` that person and tenant may still have the workers connect to, in its order.

    One way to reach an app is enough, so the rest is left out. Raises InvalidConnection, QuotaReached if none is left.
    """
    shared = set(relays_for(key.tenant))
    live = Connection.objects.filter(tenant_id=key.tenant_id, key__user_id=key.user_id, state__in=LIVE_STATES)
    named = {url for urls in live.values_list("relays", flat=True) for url in urls} - shared
    kept = first_relays(relays, named, shared, MAX_RELAYS_OF_A_PERSON)
    if not kept:
        raise InvalidConnection("Your apps use too many different relays. Revoke some that you no longer use.")
    return relays_in_quota(key.tenant, kept)


def write_down(
    connection: Connection, tag: AuditTag, actor: Actor, outcome: AuditOutcome = AuditOutcome.OK, **data: Any
) -> None:
    """Record what happened to a connection and tell the workers."""
    note(connection, tag, actor, outcome, data)
    publish(ChangeKind.CONNECTION, connection.id)


def note(connection: Connection, tag: AuditTag, actor: Actor, outcome: AuditOutcome, data: Mapping[str, Any]) -> None:
    """Record what happened to a connection, for the log alone."""
    record(
        AuditEntry(
            chain=chain_of(connection.tenant_id),
            tag=tag,
            outcome=outcome,
            actor=actor,
            key_id=connection.key_id.hex,
            connection_id=connection.id.hex,
            data=data,
        )
    )
