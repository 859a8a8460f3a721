"""The end of replaced remote-signer keys: of their apps when the grace period is over, and then of the keys.

A replaced key (TransportKey.is_current False) is served as long as an app is connected to it. For a day after its last
app ended it still answers, so that the app hears why; then its sealed secret is overwritten.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection as database
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from bunker.changes import ChangeKind, publish
from bunker.models import Connection, ConnectionState
from bunker.services.lifecycle import end_with_its_signer
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.models import TransportKey

MAX_PER_RUN: Final = 200
ANSWERS_FOR: Final = timedelta(hours=24)
"""As long as the worker remembers an ended connection (bunker.worker.loader)."""
_ACTOR: Final = Actor.system("jobs")
_LIVE: Final = Q(state__in=[ConnectionState.PENDING, ConnectionState.ACTIVE, ConnectionState.LOCKED])


def retire_transports(*, now: datetime | None = None) -> int:
    """Revoke what is overdue on replaced keys, and retire those that nobody speaks to; returns how many changed."""
    now = now or timezone.now()
    # A job retires replaced keys of every tenant.
    with scopes_disabled():
        overdue = list(
            _replaced().filter(ends_at__lte=now).filter(_on_it(_LIVE)).values_list("pk", "tenant_id")[:MAX_PER_RUN]
        )
    ended = sum(_end_apps(*found) for found in overdue)
    lately = Q(ended_at__gt=now - ANSWERS_FOR) & ~Q(client_public_key="")
    # Of every tenant once more, for some have no app left now.
    with scopes_disabled():
        quiet = list(_replaced().exclude(_on_it(_LIVE | lately)).values_list("pk", "tenant_id")[:MAX_PER_RUN])
    return ended + sum(_retire(*found, _LIVE | lately) for found in quiet)


def _replaced() -> QuerySet[TransportKey]:
    found: QuerySet[TransportKey] = TransportKey.objects.filter(is_current=False, retired_at=None)
    return found.order_by("pk")


def _on_it(which: Q) -> Exists:
    return Exists(Connection.objects.filter(which, transport=OuterRef("pk")))


@transaction.atomic
def _end_apps(transport_id: UUID, tenant_id: UUID) -> int:
    with scope(tenant=tenant_id):
        live = list(Connection.objects.filter(_LIVE, transport_id=transport_id))
    for found in live:
        end_with_its_signer(found, _ACTOR)
    return len(live)


def _retire(transport_id: UUID, tenant_id: UUID, spoken_to: Q) -> int:
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")  # a freed cell must not keep the sealed secret
    with scope(tenant=tenant_id), transaction.atomic():
        row = _replaced().select_for_update().filter(pk=transport_id).first()
        if row is None or Connection.objects.filter(spoken_to, transport=row).exists():
            return 0
        row.encrypted_secret_key = os.urandom(len(row.encrypted_secret_key))
        row.retired_at = timezone.now()
        row.save(update_fields=["encrypted_secret_key", "retired_at"])
        facts = {"transport_key": row.public_key}
        tag, chain = AuditTag.TRANSPORT_KEY_RETIRED, chain_of(row.tenant_id)
        record(AuditEntry(chain, tag, AuditOutcome.OK, _ACTOR, key_id=row.key_id.hex, data=facts))
        publish(ChangeKind.TRANSPORT, row.id)
    return 1
