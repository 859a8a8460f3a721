"""What the verbs on connections share: checks of what a person typed, and the audit row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from accounts.quotas import Quota, require_room
from bunker.changes import ChangeKind, publish
from bunker.errors import InvalidConnection, TooManyConnections
from bunker.models import Connection
from bunker.services.relay_urls import relays_for
from bunker.services.tenants import LIVE_STATES, require_relay_quota
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


def check_relays(key: PersonalKey, relays: Collection[str]) -> None:
    """Refuse more different relays than one person, or the tenant, may have the workers connect to."""
    live = Connection.objects.filter(tenant_id=key.tenant_id, key__user_id=key.user_id, state__in=LIVE_STATES)
    named = {url for urls in live.values_list("relays", flat=True) for url in urls}
    if len((named | set(relays)) - set(relays_for(key.tenant))) > MAX_RELAYS_OF_A_PERSON:
        raise InvalidConnection("Your apps use too many different relays. Revoke some that you no longer use.")
    require_relay_quota(key.tenant, relays)


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
