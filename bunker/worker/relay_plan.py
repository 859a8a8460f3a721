"""Which outbound relays a worker is connected to, and for which remote-signer keys: planned anew at each change."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from django.conf import settings

from bunker.relays.interfaces import RelayPublisher
from bunker.relays.limits import OutboundLimits
from bunker.worker.leases import HeldLeases
from bunker.worker.records import ConnectionRecord, SignerRecord
from bunker.worker.relay_shares import shared_out
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats

TOGETHER_SECONDS = 0.05
"""Changes that come within so long are planned for once."""
USELESS_SCORE = 0.2
"""At or below this a relay is offered to no client (bunker.relays.health_score)."""


class RelayPlan:
    """Tells the pool. Lives in the worker's event loop."""

    def __init__(self, snapshot: Snapshot, holding: HeldLeases, pool: RelayPublisher, stats: WorkerStats) -> None:
        self._snapshot = snapshot
        self._holding = holding
        self._pool = pool
        self._stats = stats
        self._is_due = False

    def change_soon(self) -> None:
        """Signers, connections or leases have changed: plan in a moment, once for many changes."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self.change)

    def change(self) -> None:
        """Tell the pool which keys are waited for on which relay."""
        self._is_due = False
        held = set(self._holding.shards())
        wanted: dict[UUID, dict[str, set[str]]] = {}
        now = time.time()
        for signer in self._snapshot.signers.values():
            if signer.shard in held:
                for url in self._relays_of(signer, now):
                    wanted.setdefault(signer.tenant.id, {}).setdefault(url, set()).add(signer.public_key)
        limits = {tenant_id: self._snapshot.tenants[tenant_id].max_relays for tenant_id in wanted}
        served, left_out = shared_out(wanted, limits, settings.OUTBOUND_RELAYS, OutboundLimits().relays)
        self._stats.drops["relay-over-share"] += left_out
        self._pool.set_wanted(served)

    def offered(self, signer: SignerRecord, connection: ConnectionRecord) -> list[str] | None:
        """The connection's relays without those that do not work at present; None when that leaves none."""
        scores = {row.url: row.score for row in self._pool.health()}
        usable = [url for url in connection.relays if scores.get(url, 1.0) > USELESS_SCORE]
        return usable or None

    def _relays_of(self, signer: SignerRecord, now: float) -> set[str]:
        urls = {url for client in signer.clients.values() if client.refusal is None for url in client.relays}
        if signer.is_pairing(now):
            urls |= signer.pairing_relays
        return {url for url in urls if not self._snapshot.is_built_in(url)}
