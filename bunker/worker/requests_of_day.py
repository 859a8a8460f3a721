"""What apps asked for today before this worker served them: read back when it takes a shard over, after a restart too.

The bounds a day are counted in memory (records.RequestsOfDay); what was claimed is in the database for a day, by which
a new worker goes on counting where the last one ended. What is never claimed (``ping``, ``switch_relays``, refusals) is
not: it leaves no row that would be worth a bound, and refusals have a rate of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count

from bunker.models import Request
from bunker.worker.ledger import REMEMBER_MS
from bunker.worker.records import SECONDS_A_DAY
from bunker.worker.snapshot import Snapshot
from keycast.nostr.nip46 import Nip46Method


class AskedToday(NamedTuple):
    """How many requests of one app are remembered of a day."""

    transport_id: UUID
    client_public_key: str
    connection_id: UUID
    requests: int


def asked_on(day: int, shards: Collection[int]) -> list[AskedToday]:
    """The requests that were claimed on ``day`` (since 1970-01-01 UTC) in ``shards``, by app. Blocks."""
    begins = day * SECONDS_A_DAY * 1_000
    # By the index on the end: a request is remembered for a day from when it was claimed.
    today = Request.objects.filter(expires_at__gte=begins + REMEMBER_MS, claimed_at__gte=begins)
    rows = today.filter(shard__in=list(shards), connection_id__isnull=False).exclude(method=Nip46Method.CONNECT)
    columns = ("transport_id", "client_public_key", "connection_id")
    return [AskedToday(*row) for row in rows.values_list(*columns).annotate(requests=Count("event_id")).order_by()]


def count_on(day: int, asked: Iterable[AskedToday], snapshot: Snapshot) -> None:
    """Have each app, and its tenant, have asked at least as often today as the database remembers."""
    for app in asked:
        signer = snapshot.by_transport(app.transport_id)
        connection = None if signer is None else signer.clients.get(app.client_public_key)
        if signer is None or connection is None or connection.id != app.connection_id:
            continue
        missed = connection.have_asked(day, app.requests)
        signer.tenant.have_asked(day, signer.tenant.asked_on(day) + missed)
