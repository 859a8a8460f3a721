"""What one client may have under way, and that none of a documented burst is lost by it (threat F1)."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

from bunker.relays.interfaces import BUILT_IN, DropReason
from bunker.worker.admission import AdmissionControl, AdmissionLimits, IncomingRequest
from bunker.worker.leases import HeldLeases
from bunker.worker.records import ConnectionRecord, SignerRecord, TenantRecord
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats
from keycast.nostr.nip01 import Event
from keys.refs import KeyRef, SealedSecret, TransportRef

SIGNER, NOISY, QUIET = "5" * 64, "a" * 64, "b" * 64
BURST = 1_000
"""What docs/app-makers.md promises to a client at once."""


class Leases(HeldLeases):
    def fence(self, shard: int) -> int:
        return 1


class Scene:
    """Admission with a signer and two clients; ``handle`` answers when it is told to."""

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self.limits = limits or AdmissionLimits()
        self.stats = WorkerStats()
        self.under_way: dict[str, list[asyncio.Future[None]]] = {NOISY: [], QUIET: []}
        self.most: Counter[str] = Counter()
        self.began: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.count = 0
        tenant_id, key_id = uuid.uuid4(), uuid.uuid4()
        tenant = TenantRecord(tenant_id, tenant_id.hex, None)
        key = KeyRef(tenant_id, key_id, "0" * 64, "encrypted", "")
        transport = TransportRef(tenant_id, uuid.uuid4(), key_id, SIGNER, SealedSecret("", "", b""))
        signer = SignerRecord(tenant, transport, key, 0, uuid.uuid4(), None)
        for client in (NOISY, QUIET):
            signer.clients[client] = ConnectionRecord(
                uuid.uuid4(), client, "App", refusal=None, expires_at=None, policy=None, relays=(), uses=0
            )
        snapshot = Snapshot()
        snapshot.signers[SIGNER] = signer
        self.gate = AdmissionControl(snapshot, Leases(), self.stats, self._handle, self._notify, self.limits)

    def ask(self, client: str, size: int = 100) -> DropReason | None:
        self.count += 1
        event = Event(f"{self.count:064x}", client, 0, 24133, [["p", SIGNER]], "", "")
        return self.gate.receive(event, b"x" * size, BUILT_IN)

    async def end(self, client: str, count: int = 1) -> None:
        """Let the oldest of a client's requests end, and whatever may begin then begin."""
        for _ in range(count):
            self.under_way[client].pop(0).set_result(None)
        await settle()

    async def _handle(self, item: IncomingRequest) -> None:
        client = item.event.pubkey
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way[client].append(ended)
        self.most[client] = max(self.most[client], len(self.under_way[client]))
        self.began.append((client, item.event.id))
        await ended

    async def _notify(self, item: IncomingRequest, text: str) -> None:
        self.told.append(text)


async def settle() -> None:
    """As many turns of the loop as whatever can begin takes to begin."""
    for _ in range(40):
        await asyncio.sleep(0)


async def test_an_app_that_asks_as_much_as_it_may_does_not_hold_up_another() -> None:
    scene = Scene()
    assert [scene.ask(NOISY) for _ in range(BURST)] == [None] * BURST
    await settle()
    assert len(scene.under_way[NOISY]) == scene.limits.in_flight_per_client
    for _ in range(20):  # none of the noisy one's has ended meanwhile
        assert scene.ask(QUIET) is None
        await settle()
        assert len(scene.under_way[QUIET]) == 1
        await scene.end(QUIET)
    assert len(scene.under_way[NOISY]) == scene.limits.in_flight_per_client
    await finish(scene)


async def test_of_a_documented_burst_all_is_answered_in_its_order() -> None:
    scene = Scene()
    assert [scene.ask(NOISY, size=10_000) for _ in range(BURST)] == [None] * BURST
    await settle()
    await finish(scene)
    assert scene.began == [(NOISY, f"{number:064x}") for number in range(1, BURST + 1)]
    assert scene.most[NOISY] == scene.limits.in_flight_per_client
    assert not scene.told


async def test_clients_below_their_bound_go_on_when_all_places_are_taken() -> None:
    scene = Scene(AdmissionLimits(in_flight=6, in_flight_per_client=4))
    for _ in range(10):
        scene.ask(NOISY)
    for _ in range(5):
        scene.ask(QUIET)
    await settle()
    assert (len(scene.under_way[NOISY]), len(scene.under_way[QUIET])) == (4, 2)
    await scene.end(NOISY)
    # The place goes to whoever is below its bound for longest, and the next to the one that has just come below it.
    assert (len(scene.under_way[NOISY]), len(scene.under_way[QUIET])) == (3, 3)
    await scene.end(QUIET)
    assert (len(scene.under_way[NOISY]), len(scene.under_way[QUIET])) == (4, 2)
    await finish(scene)
    assert len(scene.began) == 15


async def finish(scene: Scene) -> None:
    while scene.stats.in_flight:
        for client, under_way in scene.under_way.items():
            await scene.end(client, len(under_way))
    assert scene.stats.queued == 0
    assert not scene.gate._queue._clients


async def test_an_event_that_is_sent_again_while_it_waits_takes_no_second_place() -> None:
    scene = Scene(AdmissionLimits(in_flight_per_client=1))
    for _ in range(3):
        scene.ask(NOISY)
    await settle()
    for number in (1, 3):  # the one under way, and one that waits
        scene.count = number - 1
        assert scene.ask(NOISY) is None
    assert scene.stats.drops["duplicate"] == 2
    await finish(scene)
    assert len(scene.began) == 3
    scene.count = 0
    scene.ask(NOISY)  # answered meanwhile: its answer comes again
    await finish(scene)
    assert len(scene.began) == 4


async def test_a_request_that_is_given_up_frees_its_place() -> None:
    scene = Scene(AdmissionLimits(in_flight_per_client=1))
    for _ in range(3):
        scene.ask(NOISY)
    await settle()
    assert len(scene.began) == 1
    scene.under_way[NOISY].pop(0).cancel()
    await settle()
    assert len(scene.began) == 2
    await finish(scene)
