"""The built-in relay of a web process in the scaled shape: which keys it carries events for, and its bridge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from django.db import Error
from django.db.models import Q
from django_scopes import scopes_disabled

from accounts.models import Tenant
from bunker.changes import ChangeKind
from bunker.models import Change
from bunker.relays.bridge import WebBridge
from bunker.relays.hub import get_hub
from bunker.worker.database_threads import DatabaseThreads
from keycast.audit.services import chain_of
from keys.models import TransportKey

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
OVERLAP_MS = 10_000
"""How far back each poll looks: a transaction may commit later than one that began after it."""
FULL_SECONDS = 300.0
IDS_A_QUERY = 500
_SIGNERS: Final = {
    ChangeKind.KEY: "key_id__in",
    ChangeKind.TRANSPORT: "pk__in",
    # A key without an app is not told to anybody when it is made (bunker.signals); its first app is.
    ChangeKind.CONNECTION: "connections__in",
}
"""How to find the transport keys that a change is about."""


class ServedDirectory:
    """Transport public keys and their tenants, from the database. Only workers know more; they decide again."""

    def __init__(self) -> None:
        self._scopes: dict[str, str] = {}
        self._seen: dict[int, int] = {}
        self._closed: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        """relays.interfaces.ServedKeys."""
        found = self._scopes.get(public_key)
        return found is not None and (scope is None or scope == found)

    def tenant_of(self, public_key: str) -> str | None:
        """relays.interfaces.ServedKeys."""
        return self._scopes.get(public_key)

    def knows(self, client: str, signer: str) -> bool:
        """relays.interfaces.ServedKeys: a worker decides."""
        return True

    def is_pairing(self, signer: str) -> bool:
        """relays.interfaces.ServedKeys: a worker decides."""
        return True

    def load(self, closed: Collection[str] = ()) -> None:
        """Read every transport key that may be asked; ``closed``: tenants that may have been opened again meanwhile."""
        self._scopes = self._read(Q())
        suspended = Tenant.objects.filter(state=Tenant.State.SUSPENDED).values_list("pk", flat=True)
        self._closed = {**dict.fromkeys(closed, False), **{chain_of(tenant): True for tenant in suspended}}

    def look(self) -> None:
        """Read the keys that changed lately."""
        since = time.time_ns() // 1_000_000 - OVERLAP_MS
        self._seen = {number: at for number, at in self._seen.items() if at >= since - OVERLAP_MS}
        changed: dict[str, set[UUID]] = {kind: set() for kind in (*_SIGNERS, ChangeKind.TENANT)}
        # The built-in relay serves signers of every tenant.
        with scopes_disabled():
            rows = Change.objects.filter(at__gte=since, kind__in=list(changed))
            for change in rows.order_by("pk"):
                if change.pk not in self._seen:
                    self._seen[change.pk] = change.at
                    changed[change.kind].add(UUID(change.object_id))
            if tenants := changed[ChangeKind.TENANT]:
                self._note_closed(tenants)
        for kind, field in _SIGNERS.items():
            ids = list(changed[kind])
            for start in range(0, len(ids), IDS_A_QUERY):
                self._scopes.update(self._read(Q(**{field: ids[start : start + IDS_A_QUERY]})))

    def closed(self) -> dict[str, bool]:
        """Tenants looked at since the last call, and whether each is suspended."""
        found, self._closed = self._closed, {}
        return found

    def _note_closed(self, tenants: set[UUID]) -> None:
        states = dict(Tenant.objects.filter(pk__in=tenants).values_list("pk", "state"))
        suspended = Tenant.State.SUSPENDED
        self._closed |= {chain_of(tenant): states.get(tenant, suspended) == suspended for tenant in tenants}

    def _read(self, wanted: Q) -> dict[str, str]:
        # Transport keys are looked up by public key, whatever their tenant.
        with scopes_disabled():
            rows = TransportKey.objects.filter(wanted, retired_at__isnull=True)
            return {key: chain_of(tenant) for key, tenant in rows.values_list("public_key", "tenant_id").iterator()}


async def follow(directory: ServedDirectory, in_thread: DatabaseThreads) -> None:
    """Keep ``directory`` fresh; returns never. A database that is away leaves it as it was."""
    loaded_at = 0.0
    while True:
        try:
            if time.monotonic() - loaded_at > FULL_SECONDS:
                closed = get_hub().closed
                await in_thread(partial(directory.load, closed))
                loaded_at = time.monotonic()
            else:
                await in_thread(directory.look)
            for scope, is_closed in directory.closed().items():
                get_hub().set_closed(scope, is_closed=is_closed)
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
