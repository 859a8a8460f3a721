"""The bunker worker: everything that serves NIP-46 in one process, started, supervised and drained together.

Side by side run the lease keeper, the reconciler, the control listener, the outbound relays and the housekeeping,
next to the group-commit writer's thread. The first to fail starts a drain; so does SIGTERM.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error, connection

from bunker.relays.bridge import WorkerBridge
from bunker.relays.event_checks import Intake
from bunker.relays.hub import RelayHub, get_hub
from bunker.relays.pool import RelayPool
from bunker.worker import garbage_collection, leases, requests_of_day
from bunker.worker.admission import AdmissionControl, AdmissionLimits
from bunker.worker.control import ControlListener
from bunker.worker.daily_quota import DailyQuota
from bunker.worker.database_threads import DatabaseThreads
from bunker.worker.engine import Engine, assemble
from bunker.worker.group_commit import BatchWriter
from bunker.worker.leases import HeldLeases
from bunker.worker.maintenance import prune
from bunker.worker.metrics_export import RequestMetrics
from bunker.worker.publisher import Publisher
from bunker.worker.reconciler import Reconciler
from bunker.worker.records import SECONDS_A_DAY
from bunker.worker.recovery import Recovery
from bunker.worker.relay_plan import RelayPlan
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats
from bunker.worker.traffic_counter import TrafficCounterWriter
from keycast.audit.journal_writer import require_current
from keycast.audit.services import chain_of
from keycast.base import service_status
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of
from keys.services import signing_service, transport_service

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
DRAIN_SECONDS = 10.0
SWEEP_SECONDS = 15.0
# Younger ones are most likely being answered just now, by this worker.
SWEEP_OLDER_MS = 20_000
PRUNE_SECONDS = 60.0
REPEAT_MS = 15_000
"""How long before a worker's last sign of life a request may have come whose reply it stored but did not publish."""


class WriterEnded(Exception):
    """The group-commit writer's thread is gone; nothing can be made durable any more."""


class BunkerWorker:
    """One worker. ``run`` serves until ``stop`` is set, then drains. Use an instance once.

    ``port`` is the built-in relay as the worker sees it (default: this process's hub); ``pool`` the outbound relays
    (default: a pool on the hub's intake).
    """

    def __init__(
        self, *, port: Any = None, pool: Any = None, limits: AdmissionLimits | None = None, worker_id: str | None = None
    ) -> None:
        self.id = worker_id or secrets.token_hex(8)
        self.stats = WorkerStats()
        self._meter = RequestMetrics(self.stats)
        self.snapshot = Snapshot()
        self.holding = HeldLeases()
        self.ready = asyncio.Event()
        self._heartbeats = DatabaseThreads("bunker-lease", 1)
        self._threads = DatabaseThreads("bunker-db", 4)
        self._port = port if port is not None else get_hub()
        self._pool = pool if pool is not None else RelayPool(_intake_of(self._port), authenticator=self)
        self.writer = BatchWriter(self.id, self.stats)
        self._figures = TrafficCounterWriter(self.id, self.stats.tally, self._figure_work)
        self._daily_quota = DailyQuota(self.snapshot.tenants.values, self._figure_work)
        self._relays = RelayPlan(self.snapshot, self.holding, self._pool, self.stats)
        self.reconciler = Reconciler(self.snapshot, self._threads, self._forget_keys, self._relays.change_soon)
        publisher = Publisher(self._port, self._pool, self.snapshot, self.writer, self.stats)
        parts = assemble(
            snapshot=self.snapshot,
            holding=self.holding,
            writer=self.writer,
            publisher=publisher,
            stats=self.stats,
            keys=signing_service(),
            transports=transport_service(),
            in_thread=self._threads,
            reload=self.reconciler.reload,
            forget=self._forget_event,
            refuse=self._port.refuse,
            offered_relays=self._relays.offered,
            daily_quota=self._daily_quota,
        )
        self.engine = Engine(parts, self.stats, self.reconciler.is_stale)
        self.gate = AdmissionControl(
            self.snapshot, self.holding, self.stats, self.engine.handle, self.engine.notify, limits
        )
        self._recovery = Recovery(
            snapshot=self.snapshot,
            holding=self.holding,
            gate=self.gate,
            engine=self.engine,
            delivery=parts.delivery,
            publisher=publisher,
            stats=self.stats,
            in_thread=self._threads,
        )
        self.reconciler.on_tenant = self._tenant_changed
        self.reconciler.on_connection = lambda: self._in_background(self._publish_new_answers())
        self._background: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

    # Life

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set.

        Raises AnotherWorkerRunning, DatabaseOutdated, or the failure of whatever part ended first.
        """
        garbage_collection.relax()
        await self._take_seat(exclusive=connection.vendor == "sqlite")
        try:
            await self._start()
            failure = await self._serve(stop)
        finally:
            await self._drain()
        if failure is not None:
            raise failure

    async def _take_seat(self, *, exclusive: bool) -> None:
        """Or leave nothing behind: whoever supervises this worker may try another one for as long as it takes."""
        try:
            await self._heartbeats(lambda: leases.register_worker(self.id, exclusive=exclusive))
        except BaseException:
            self._close_threads()
            raise

    def hurry(self) -> None:
        """A second request to stop: give up what is not finished yet."""
        self._hurry.set()

    async def _start(self) -> None:
        await self._threads(require_current)
        self.writer.start()
        turn = await self._beat(is_first=True)
        if isinstance(self._port, RelayHub):  # what a worker before this one closed may be open again
            self._port.open_all()
        await self.reconciler.start()
        # What was signed today is known before the first signature, or a restart would give every tenant its day anew.
        await self._daily_quota.flush()
        await self._count_today(turn.gained)
        # Only now: shards are served when their signers are in memory, or their first requests would find nobody.
        self.holding.admit(turn.gained)
        self._port.served = self
        self._port.attach(self.gate)
        self._pool.attach(self.gate)
        self._in_background(self._finish_work_of_others(turn))
        self.ready.set()
        log.info("worker_ready", worker=self.id, signers=len(self.snapshot), shards=len(self.holding.shards()))

    async def _serve(self, stop: asyncio.Event) -> BaseException | None:
        parts = {
            "leases": self._keep_leases(),
            "reconciler": self.reconciler.run(),
            "control": ControlListener(self.reconciler.hint).run(),
            "relays": self._pool.run(),
            "housekeeping": self._keep_house(),
            "writer": self._watch_writer(),
            "figures": self._figures.run(),
            "daily quota": self._daily_quota.run(),
            "stop": stop.wait(),
        }
        tasks = {asyncio.create_task(_named(part), name=f"bunker {name}") for name, part in parts.items()}
        self._parts = tasks
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in done if not task.cancelled() and task.exception() is not None]
        for task in failed:
            log.error("worker_part_failed", part=task.get_name(), error=type(task.exception()).__name__)
        return failed[0].exception() if failed else None

    async def _drain(self) -> None:
        """Claim nothing new, finish what was begun within ten seconds, close relays, give back the leases."""
        # The order is what loses nothing: no new requests, then the end of those under way, then relays and the
        # writer, and the leases last, for whoever gets them carries out again what we have not finished.
        self._port.detach(self.gate)
        drained = asyncio.ensure_future(self.gate.drain(DRAIN_SECONDS))
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drained, hurried, *self._background):
            task.cancel()
        await self._pool.stop()
        if isinstance(self._port, WorkerBridge):  # replies on their way to other processes
            await self._port.flush()
        for task in getattr(self, "_parts", ()):
            task.cancel()
        if self.writer.is_started:
            await self._figures.finish()
            await self._daily_quota.finish()
            await self.writer.stop()
        if isinstance(self._port, WorkerBridge):
            await self._port.flush()
        self.holding.drop_all()
        try:
            await asyncio.wait_for(self._heartbeats(lambda: leases.release_leases(self.id)), 3)
        except (Error, TimeoutError) as error:
            log.warning("leases_not_given_back", error=type(error).__name__)
        self._close_threads()
        log.info("worker_stopped", worker=self.id)

    def _close_threads(self) -> None:
        self._heartbeats.close()
        self._threads.close()

    # Parts

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat()
            except Error as error:  # the leases run out by themselves; meanwhile nothing new is claimed
                log.warning("heartbeat_failed", error=type(error).__name__)

    async def _beat(self, *, is_first: bool = False) -> leases.LeaseChanges:
        asked_at = time.monotonic()
        self._meter.flush()
        self.stats.tally.turn()
        status = self.status()
        turn: leases.LeaseChanges = await self._lease_work(lambda: leases.beat(self.id, status))
        # Before renewing: from the moment a gained shard counts as ours it must be held back until its rows are read.
        self.holding.hold_back(turn.gained | turn.excess)
        changed = set(self.holding.shards()) != set(turn.fences)
        self.holding.renew(turn.fences, asked_at)
        if turn.gained and not is_first:
            self._in_background(self._take_over(turn))
        if turn.excess:
            self._in_background(self._give_back(turn.excess))
        if changed:
            self._relays.change_soon()
        return turn

    async def _lease_work(self, work: Callable[[], Any]) -> Any:
        """Where writers exclude each other (SQLite), leases are the writer's errand; else they have a thread."""
        return await (self.writer.execute(work) if connection.vendor == "sqlite" else self._heartbeats(work))

    async def _figure_work(self, work: Callable[[], Any]) -> Any:
        """As leases: on SQLite the writer's errand. Elsewhere any thread will do, but not the heartbeats'."""
        return await (self.writer.execute(work) if connection.vendor == "sqlite" else self._threads(work))

    async def _take_over(self, turn: leases.LeaseChanges) -> None:
        """Serve shards that are new here: first read what only their last owner had in memory, then finish its work."""
        await self.reconciler.reload_shards(turn.gained)
        await self._count_today(turn.gained)
        self.holding.admit(turn.gained)
        self._relays.change_soon()
        await self._finish_work_of_others(turn)

    async def _count_today(self, shards: Collection[int]) -> None:
        """A start, or another worker, gives no app a second day."""
        day = int(time.time()) // SECONDS_A_DAY
        asked = await self._threads(lambda: requests_of_day.asked_on(day, shards))
        requests_of_day.count_on(day, asked, self.snapshot)

    async def _finish_work_of_others(self, turn: leases.LeaseChanges) -> None:
        """Requests that were claimed or answered, and replies that a dead owner may not have published any more."""
        await self._recovery.recover(turn.gained)
        await self._recovery.repeat({shard: alive - REPEAT_MS for shard, alive in turn.orphaned.items()})

    async def _give_back(self, shards: Collection[int]) -> None:
        """Finish what is under way in ``shards``, then let another worker have them."""
        deadline = time.monotonic() + 3
        while any(map(self.gate.is_busy_with, shards)) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await self._lease_work(lambda: leases.give_back(self.id, shards))

    async def _publish_new_answers(self) -> None:
        await self._recovery.recover(self.holding.shards(), only_new=True)

    async def _keep_house(self) -> None:
        pruned_at = 0.0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._recovery.recover(self.holding.shards(), older_than_ms=SWEEP_OLDER_MS)
                if time.monotonic() - pruned_at > PRUNE_SECONDS:
                    # A database that was restored under a running worker is noticed here at the latest.
                    await self._threads(require_current)
                    await self._threads(prune)
                    pruned_at = time.monotonic()
            except Error as error:
                log.warning("housekeeping_failed", error=type(error).__name__)

    async def _watch_writer(self) -> None:
        while not self.writer.failed.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.25)
        raise WriterEnded

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._quietly(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        """Background work that the next beat, change or sweep would do again."""
        try:
            await work
        except Error as error:
            log.warning("worker_step_failed", error=type(error).__name__)

    # What relays ask of the worker

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        """relays.interfaces.ServedKeys: a signer in memory, its shard held here, in the right tenant."""
        signer = self.snapshot.signers.get(public_key)
        return signer is not None and (scope is None or scope == signer.tenant.chain)

    def tenant_of(self, public_key: str) -> str | None:
        """relays.interfaces.ServedKeys."""
        signer = self.snapshot.signers.get(public_key)
        return None if signer is None else signer.tenant.chain

    def knows(self, client: str, signer: str) -> bool:
        """relays.interfaces.ServedKeys: a client of any state; one that was revoked is told so."""
        found = self.snapshot.signers.get(signer)
        return found is not None and client in found.clients

    def is_pairing(self, signer: str) -> bool:
        """relays.interfaces.ServedKeys."""
        found = self.snapshot.signers.get(signer)
        return found is not None and found.is_pairing(time.time())

    async def sign_auth(self, public_key: str, event: UnsignedEvent) -> Event | None:
        """relays.interfaces.Authenticator: NIP-42 in the name of a transport key, never of a user's."""
        signer = self.snapshot.signers.get(public_key)
        if signer is None or event.kind != 22242 or event.pubkey != public_key:
            return None
        transport = await transport_service().open(signer.transport)
        digest = id_of(event)
        return event.signed(digest.hex(), transport.sign(digest))

    # Hooks of the parts

    def _forget_event(self, event_id: str) -> None:
        self.gate.forget(event_id)
        self._port.forget(event_id)
        self._pool.forget(event_id)

    def _forget_keys(self, key_id: UUID, transport_id: UUID) -> None:
        signing_service().forget(key_id)
        transport_service().forget(transport_id)

    def _tenant_changed(self, tenant_id: UUID, is_suspended: bool) -> None:
        """End or allow connections to the built-in relay of this process; other processes follow by themselves."""
        if isinstance(self._port, RelayHub):
            self._port.set_closed(chain_of(tenant_id), is_closed=is_suspended)
        self._relays.change_soon()

    def status(self) -> dict[str, Any]:
        """What the seat in the database says of this worker."""
        relays = [
            {"url": row.url, "status": row.status.value, "score": round(row.score, 2), "queued": row.queued}
            for row in self._pool.health()
        ]
        shards = len(self.holding.shards())
        return {
            **self.stats.as_dict(),
            "signers": len(self.snapshot),
            "shards": shards,
            "relays": relays[:50],
            "minutes": self.stats.tally.unwritten(),
            "services": service_status.report(),
        }


async def _named(part: Any) -> None:
    await part


def _intake_of(port: Any) -> Intake:
    intake = getattr(port, "intake", None)
    return intake if isinstance(intake, Intake) else Intake()


def default_port() -> Any:
    """The built-in relay as seen from ``manage.py bunker``: other processes' hubs, through the channel layer."""
    return get_hub() if settings.EMBEDDED else WorkerBridge()
