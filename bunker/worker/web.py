"""The built-in relay of a web process in the scaled shape: which keys it carries events for, and its bridge."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import structlog
from django.db import Error
from django.db.models import Q
from django_scopes import scopes_disabled

from bunker.changes import ChangeKind
from bunker.models import Change
from bunker.relays.bridge import WebBridge
from bunker.relays.hub import get_hub
from bunker.worker.threads import DatabaseThreads
from keycast.audit.services import chain_of
from keys.models import TransportKey

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
OVERLAP_MS = 10_000
"""How far back each poll looks: a transaction may commit later than one that began after it."""
FULL_SECONDS = 300.0


class ServedDirectory:
    """Transport public keys and their tenants, from the database. Only workers know more; they decide again."""

    def __init__(self) -> None:
        self._scopes: dict[str, str] = {}
        self._seen: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        """relays.interfaces.ServedKeys."""
        found = self._scopes.get(public_key)
        return found is not None and (scope is None or scope == found)

    def load(self) -> None:
        """Read every transport key that may be asked."""
        self._scopes = self._read(Q())

    def look(self) -> None:
        """Read the keys that changed lately."""
        since = time.time_ns() // 1_000_000 - OVERLAP_MS
        self._seen = {number: at for number, at in self._seen.items() if at >= since - OVERLAP_MS}
        wanted = Q()
        with scopes_disabled():
            rows = Change.objects.filter(at__gte=since, kind__in=(ChangeKind.KEY, ChangeKind.TRANSPORT))
            for change in rows.order_by("pk"):
                if change.pk not in self._seen:
                    self._seen[change.pk] = change.at
                    field = "key_id" if change.kind == ChangeKind.KEY else "pk"
                    wanted |= Q(**{field: UUID(change.object_id)})
        if wanted:
            self._scopes.update(self._read(wanted))

    def _read(self, wanted: Q) -> dict[str, str]:
        with scopes_disabled():
            rows = TransportKey.objects.filter(wanted, retired_at__isnull=True)
            return {key: chain_of(tenant) for key, tenant in rows.values_list("public_key", "tenant_id").iterator()}


async def follow(directory: ServedDirectory, in_thread: DatabaseThreads) -> None:
    """Keep ``directory`` fresh; returns never. A database that is away leaves it as it was."""
    loaded_at = 0.0
    while True:
        try:
            if time.monotonic() - loaded_at > FULL_SECONDS:
                await in_thread(directory.load)
                loaded_at = time.monotonic()
            else:
                await in_thread(directory.look)
        except Error as error:
            log.warning("served_keys_not_read", error=type(error).__name__)
        await asyncio.sleep(POLL_SECONDS)


async def serve_relay(stop: asyncio.Event) -> None:
    """Carry the built-in relay's events to the workers until ``stop`` is set."""
    directory = ServedDirectory()
    threads = DatabaseThreads("relay-keys", 1)
    hub = get_hub()
    hub.served = directory
    parts = [asyncio.create_task(part) for part in (follow(directory, threads), WebBridge(hub).run())]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({*parts, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for part in parts:
            if part.done():
                part.result()
    finally:
        for task in (*parts, stopping):
            task.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        threads.close()
