"""``connect`` (NIP-46): exactly one client takes a bunker URL's secret, and guesses are refused, however many.

A secret has 128 random bits and lives for minutes, so nothing has to be closed to keep it from being guessed; what
anybody could close, a stranger could keep closed. How many strangers are heard at all is bunker.worker.admission's.

The secret is compared by its hash: SHA-256 of what the client sent is looked up among this signer's unused ones, so
nothing an attacker can time depends on how much of a guess was right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from bunker.errors import PairingRefused
from bunker.models import Connection, ConnectionState, PairingGuard
from bunker.services.common import write_down
from bunker.services.grant_seals import is_granted, seal
from bunker.services.issue import hash_secret, is_secret_of
from bunker.services.lifecycle import supersede
from bunker.services.notices import tell_owner
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.text import one_line
from keycast.nostr.nip46 import parse_permissions
from keycast.nostr.uris import web_link
from keys.models import TransportKey

MAX_METADATA = 65_536
MAX_REQUESTED = 32_768
"""Characters of a list of permissions that are cleaned; parse_permissions keeps fewer, in whole entries."""
_ENDINGS = {
    ConnectionState.REVOKED.value: "The owner has revoked this app's access. Ask for a new bunker URL.",
    ConnectionState.LOGGED_OUT.value: "This app has logged out. Connect again with a new bunker URL.",
}


@dataclass(frozen=True, slots=True)
class PairedConnection:
    """The connection a client holds; ``is_new`` is False when it had it already."""

    connection_id: UUID
    is_new: bool


def bind_connection(
    *, transport_id: UUID, client_public_key: str, secret: str, metadata: str = "", requested_permissions: str = ""
) -> PairedConnection:
    """Give the connection that waits for ``secret`` to this client, once.

    A client that already holds a connection on this signer is confirmed (its used secret, or none) with nothing
    changed; with another unused secret it moves to that newer connection. Wrong secrets are written down, one by one
    up to a bound (settings BUNKER_PAIRING_*), then once for as many as come. Raises PairingRefused.
    """
    with transaction.atomic():
        transport = _locked(transport_id)
        with scope(tenant=transport.tenant_id):
            outcome = _bind(transport, client_public_key, secret, metadata, requested_permissions)
    if isinstance(outcome, PairingRefused):  # raised out here, so that the count of failures is kept
        raise outcome
    return outcome


def is_secret_waiting(*, transport_id: UUID, secret: str) -> bool:
    """Whether an unused, unexpired bunker URL of this signer has ``secret``. Changes nothing, writes nothing down."""
    # As in _locked: the signer is known by its id, and so its tenant.
    with scopes_disabled():
        transport = TransportKey.objects.filter(id=transport_id).first()
    if transport is None:
        return False
    with scope(tenant=transport.tenant_id):
        return _waiting(transport, secret, timezone.now()) is not None


def _locked(transport_id: UUID) -> TransportKey:
    # The worker knows a signer by its id alone; from here on everything is its tenant's.
    with scopes_disabled():
        found: TransportKey = TransportKey.objects.select_for_update().get(id=transport_id)
    return found


def _bind(
    transport: TransportKey, client: str, secret: str, metadata: str, requested: str
) -> PairedConnection | PairingRefused:
    held = Connection.objects.filter(
        transport=transport, client_public_key=client, state=ConnectionState.ACTIVE
    ).first()
    if held is not None and (not secret or is_secret_of(held.id, _bytes(held.secret_hash), secret)):
        return PairedConnection(held.id, is_new=False)
    now = timezone.now()
    waiting = _waiting(transport, secret, now)
    if waiting is None:
        return _refuse(transport, client, now) if _is_guess(transport, secret) else _no_longer(transport, client)
    actor = Actor.client(client, waiting.name)
    supersede(transport, client, actor)
    if not _use_secret(waiting, client, metadata, requested, now):
        return PairingRefused()
    waiting.refresh_from_db()
    tell_owner(waiting)
    write_down(waiting, AuditTag.CONNECTION_BOUND, actor, client=client)
    return PairedConnection(waiting.id, is_new=True)


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)  # PostgreSQL gives a memoryview


def _waiting(transport: TransportKey, secret: str, now: datetime) -> Connection | None:
    if not secret:
        return None
    found = (
        Connection.objects.filter(
            transport=transport,
            state=ConnectionState.PENDING,
            secret_hash=hash_secret(secret),
            secret_expires_at__gt=now,
        )
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now))
        .first()
    )
    return found if found is not None and is_granted(found) else None


def _use_secret(connection: Connection, client: str, metadata: str, requested: str, now: datetime) -> bool:
    """The one conditional UPDATE that makes a secret single-use, whatever else runs at this moment."""
    connection.state, connection.client_public_key = ConnectionState.ACTIVE, client
    connection.requested_permissions = str(parse_permissions(one_line(requested, MAX_REQUESTED)))
    return bool(
        Connection.objects.filter(id=connection.id, state=ConnectionState.PENDING).update(
            state=connection.state,
            client_public_key=client,
            bound_at=now,
            client_metadata=read_metadata(metadata),
            requested_permissions=connection.requested_permissions,
            seal=seal(connection, connection.policy),
        )
    )


def _no_longer(transport: TransportKey, client: str) -> PairingRefused:
    """The refusal of a secret that is over; a client that was let in once hears how its access ended."""
    ended = Connection.objects.filter(transport=transport, client_public_key=client, state__in=_ENDINGS)
    latest = ended.order_by("-ended_at").first()
    return PairingRefused() if latest is None else PairingRefused(_ENDINGS[latest.state])


def _is_guess(transport: TransportKey, secret: str) -> bool:
    """Tell a wrong secret from a missing, used or expired one: only guesses count, and only they are worth a row."""
    known = Connection.objects.filter(transport=transport, secret_hash=hash_secret(secret)).exists()
    return bool(secret) and not known


def _refuse(transport: TransportKey, client: str, now: datetime) -> PairingRefused:
    tag = _count_failure(transport, now)
    if tag is not None:
        record(
            AuditEntry(
                chain=chain_of(transport.tenant_id),
                tag=tag,
                outcome=AuditOutcome.DENIED,
                actor=Actor.client(client),
                key_id=transport.key_id.hex,
            )
        )
    return PairingRefused()


def _count_failure(transport: TransportKey, now: datetime) -> AuditTag | None:
    """Count a wrong secret; under which tag it is written down, or None when there were too many for a row each."""
    window = timedelta(seconds=settings.BUNKER_PAIRING_WINDOW)
    guard, _ = PairingGuard.objects.get_or_create(transport=transport, defaults={"window_started_at": now})
    if guard.window_started_at + window <= now:
        guard.failures, guard.window_started_at = 0, now
    if guard.failures > settings.BUNKER_PAIRING_FAILURES:
        return None  # and no write: they cost a look-up each
    guard.failures += 1
    guard.save()
    is_last = guard.failures > settings.BUNKER_PAIRING_FAILURES
    return AuditTag.PAIRING_GUESSED if is_last else AuditTag.PAIRING_REFUSED


def read_metadata(text: str) -> dict[str, str]:
    """What a client says of itself (NIP-46, fourth parameter of connect), kept for display: name, url, image.

    What is no string, and a link that is no web address (a whole picture as ``data:``), is dropped; it is a hint, so
    never an error.
    """
    if not text or len(text) > MAX_METADATA:
        return {}
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    texts = {label: said[label] for label in ("name", "url", "image") if isinstance(said.get(label), str)}
    cleaned = {label: one_line(text if label == "name" else web_link(text), 300) for label, text in texts.items()}
    return {label: value for label, value in cleaned.items() if value}


@transaction.atomic
def lapse_unused_secrets(*, now: datetime | None = None, limit: int = 1000) -> int:
    """Close connections whose secret nobody used in time. Returns how many; run by the jobs."""
    # A job closes what is overdue in every tenant.
    with scopes_disabled():
        overdue = Connection.objects.select_for_update().filter(
            state=ConnectionState.PENDING, secret_expires_at__lte=now or timezone.now()
        )[:limit]
        for connection in overdue:
            connection.state = ConnectionState.LAPSED
            connection.ended_at = timezone.now()
            connection.save(update_fields=["state", "ended_at"])
            write_down(connection, AuditTag.CONNECTION_LAPSED, Actor.system("jobs"))
        return len(overdue)
