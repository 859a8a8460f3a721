"""The worker's picture of who may speak to whom, kept in memory by revision: the signing path never queries.

Read and changed in the event loop only; the reading itself (loader) runs in a thread and its result is merged here.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from bunker.relay_addresses import is_built_in
from bunker.worker.loader import LoadedRecords
from bunker.worker.records import SignerRecord, TenantRecord


class Snapshot:
    """Signers by transport public key, and the indexes that changes need. Implements relays' ServedKeys with leases."""

    def __init__(self) -> None:
        self.signers: dict[str, SignerRecord] = {}
        self.tenants: dict[UUID, TenantRecord] = {}
        self._hosts: frozenset[str] = frozenset()
        self._outbound: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._by_transport: dict[UUID, str] = {}
        self.revision = 0

    def __len__(self) -> int:
        return len(self.signers)

    @property
    def hosts(self) -> frozenset[str]:
        """The verified hosts of all tenants."""
        return self._hosts

    @hosts.setter
    def hosts(self, hosts: frozenset[str]) -> None:
        if hosts != self._hosts:
            self._hosts = hosts
            self._outbound.clear()

    def merge(self, loaded: LoadedRecords, transport_ids: Collection[UUID] | None = None) -> None:
        """Put in what was read; signers among ``transport_ids`` (None: all) that were not found are forgotten."""
        stale = set(self._by_transport if transport_ids is None else transport_ids)
        for tenant_id, tenant in loaded.tenants.items():
            known = self.tenants.setdefault(tenant_id, tenant)
            known.refusal = tenant.refusal
            known.max_signatures, known.max_relays = tenant.max_signatures, tenant.max_relays
        for signer in loaded.signers.values():
            signer.tenant = self.tenants[signer.tenant.id]
            stale.discard(signer.transport.transport_id)
            self._put(signer)
        for transport_id in stale:
            public_key = self._by_transport.pop(transport_id, None)
            if public_key is not None:
                del self.signers[public_key]
        self.revision += 1

    def _put(self, signer: SignerRecord) -> None:
        before = self.signers.get(signer.public_key)
        if before is not None:
            signer.strangers = before.strangers
            for client, connection in signer.clients.items():
                known = before.clients.get(client)
                if known is not None and known.id == connection.id:
                    connection.inherit(known)
        self.signers[signer.public_key] = signer
        self._by_transport[signer.transport.transport_id] = signer.public_key

    def by_transport(self, transport_id: UUID) -> SignerRecord | None:
        """The signer with this transport key, if it is known here."""
        public_key = self._by_transport.get(transport_id)
        return None if public_key is None else self.signers[public_key]

    def concerned(self, keys: Collection[UUID], users: Collection[UUID]) -> list[SignerRecord]:
        """Signers that speak for one of these personal keys, or for one of these users; one pass for any number."""
        if not keys and not users:
            return []
        return [s for s in self.signers.values() if s.key.key_id in keys or s.user_id in users]

    def of_tenant(self, tenant_id: UUID) -> list[SignerRecord]:
        """Signers of a tenant."""
        return [signer for signer in self.signers.values() if signer.tenant.id == tenant_id]

    def is_built_in(self, url: str) -> bool:
        """True when ``url`` is our own relay on one of the tenants' hosts."""
        return is_built_in(url, self._hosts)

    def outbound(self, relays: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``relays`` that are not our own. Asked for every request, so the answers are kept."""
        known = self._outbound.get(relays)
        if known is None:
            if len(self._outbound) >= 10_000:
                self._outbound.clear()
            known = self._outbound[relays] = tuple(url for url in relays if not self.is_built_in(url))
        return known
