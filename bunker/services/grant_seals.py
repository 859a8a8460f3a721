"""The seal of a connection: shows that a service of ours granted it, and not somebody who can write the database.

A worker serves a connection, and a client takes a bunker URL, only under a seal that fits the row: whose key, which
signer, which client, what policy and request rate, until when, and whether it waits, is active or locked. It is an
HMAC-SHA-256 (RFC 2104) under a key that processes have and the database has not (accounts.sealing, from
``KEYCAST_FIELD_KEY``). A row that is changed past the services is refused from then on.

It does not show that a row is the latest one: who kept an earlier row with its seal can put it back.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from django_scopes import scopes_disabled

from accounts.sealing import authenticate, is_authentic
from bunker.models import Connection, ConnectionState

PURPOSE: Final = "grant"
SEALED_STATES: Final = (ConnectionState.PENDING, ConnectionState.ACTIVE, ConnectionState.LOCKED)
CHUNK: Final = 500


def seal(connection: Any, policy: Any) -> str:
    """The seal of a connection as it is in memory; ``policy`` is its document. 64 hex digits.

    Takes a Connection, or a row with its columns.
    """
    return authenticate(PURPOSE, *_parts(connection, fingerprint(policy)))


def is_sealed(connection: Any, policy: str) -> bool:
    """Whether the seal of a row fits it; ``policy`` is its document's ``fingerprint``."""
    return connection.state in SEALED_STATES and is_authentic(connection.seal, PURPOSE, *_parts(connection, policy))


def is_granted(connection: Connection) -> bool:
    """The same of a Connection."""
    return is_sealed(connection, fingerprint(connection.policy))


def fingerprint(policy: Any) -> str:
    """SHA-256 of a policy document in one text, however a database writes it down. Many grants share one."""
    return hashlib.sha256(json.dumps(policy, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _parts(row: Any, policy: str) -> tuple[str, ...]:
    waits = row.state == ConnectionState.PENDING
    return (
        *(row.id.hex, row.tenant_id.hex, row.key_id.hex, row.transport_id.hex),
        *(str(row.state), row.client_public_key, row.requested_permissions, policy, str(row.request_rate)),
        _moment(row.expires_at),
        bytes(row.secret_hash or b"").hex() if waits else "",
        _moment(row.secret_expires_at) if waits else "",
    )


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def renew() -> int:
    """Seal anew, under the present field key, what is sealed under an earlier one; returns how many. Run by the jobs.

    A seal that fits under no key stays as it is.
    """
    changed = 0
    # A job renews the seals of every tenant.
    with scopes_disabled():
        for connection in Connection.objects.filter(state__in=SEALED_STATES).iterator(CHUNK):
            present = seal(connection, connection.policy)
            if connection.seal != present and is_granted(connection):
                rows = Connection.objects.filter(pk=connection.pk, seal=connection.seal, state=connection.state)
                changed += rows.update(seal=present)
    return changed
