"""Where events enter the engine: who may come in, how often, and in which order (steps 6 to 8 of bunker.md).

Everything here is synchronous and cheap. Nothing is written, and no key is touched, for anybody who is turned away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from bunker.relays.event_checks import sole_recipient
from bunker.relays.interfaces import BUILT_IN, DropReason
from bunker.traffic.counts import REFUSED
from bunker.worker.fairness import ClientShare, FairQueue
from bunker.worker.leases import HeldLeases
from bunker.worker.records import SECONDS_A_DAY, ConnectionRecord, SignerRecord
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats
from keycast.base.limits import overridden
from keycast.base.seen_ids import SeenIds
from keycast.base.token_bucket import BucketMap, TokenBucket
from keycast.nostr.nip01 import Event

RATE_LIMITED = "Too many requests. Please slow down."
BUSY = "The remote signer is busy. Please try again in a moment."
TENANT_DAY_IS_FULL = "This community's apps have asked as often today as they may. Try again after midnight UTC."
APP_DAY_IS_FULL = "This app has asked as often today as it may. Try again after midnight UTC."
_STRANGERS = "strangers"
_SLICE = 16


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Bounds of one worker: rates per second, places in queues."""

    client_rate: float = 20.0
    client_burst: float = 1_500.0
    """A message inbox is decrypted at once: 1,000 requests are promised, beside what else the app does."""
    client_day: int = 200_000
    machine_rate: float = 500.0
    machine_burst: float = 1_500.0
    machine_day: int = 2_000_000
    """Of an app that its owner, or an operator, called a server (Connection.request_rate)."""
    tenant_day: int = 20_000_000
    """Requests a day of all apps of a tenant, of whatever method; signatures have a quota of their own."""
    stranger_rate: float = 2.0
    stranger_burst: float = 30.0
    signer_stranger_rate: float = 10.0
    signer_stranger_burst: float = 120.0
    strangers_rate: float = 100.0
    strangers_burst: float = 400.0
    not_pairing_rate: float = 20.0
    not_pairing_burst: float = 100.0
    """Strangers at signers that wait for no app: all that they can be told is that their bunker URL is over."""
    in_flight: int = 256
    in_flight_per_client: int = 64
    """Others wait behind what one client has under way. Fewer make larger batches impossible (decision 167)."""
    queue: int = 8_000
    queue_per_tenant: int = 4_000
    queue_per_client: int = 1_500
    queue_bytes: int = 64 * 1024 * 1024
    """Of the events in the queue; a tenant may fill half of it, a client a sixth."""
    recent_ids: int = 50_000

    @classmethod
    def from_settings(cls) -> AdmissionLimits:
        """Read overrides from settings. Raises ImproperlyConfigured for a name or a number that is none."""
        return overridden(cls(), settings.BUNKER_LIMITS, "KEYCAST_BUNKER_LIMITS")


class IncomingRequest:
    """One request on its way. ``connection`` is None for a stranger; ``received`` is monotonic.

    ``method`` is empty until the request has been read. ``share`` is its client's part of what is under way, None for
    what was not admitted (refusals, recovery).
    """

    __slots__ = ("connection", "event", "method", "raw", "received", "relay", "share", "signer")

    def __init__(
        self, event: Event, raw: bytes, relay: str, signer: SignerRecord, connection: ConnectionRecord | None, at: float
    ) -> None:
        self.event = event
        self.raw = raw
        self.relay = relay
        self.signer = signer
        self.connection = connection
        self.received = at
        self.method = ""
        self.share: ClientShare[IncomingRequest] | None = None


Handle = Callable[[IncomingRequest], Coroutine[Any, Any, None]]
Notify = Callable[[IncomingRequest, str], Coroutine[Any, Any, None]]


class AdmissionControl:
    """The worker's EventSink. ``handle`` answers one item, ``notify`` tells a known client why it was turned away."""

    def __init__(
        self,
        snapshot: Snapshot,
        holding: HeldLeases,
        stats: WorkerStats,
        handle: Handle,
        notify: Notify,
        limits: AdmissionLimits | None = None,
    ) -> None:
        self.limits = limits or AdmissionLimits.from_settings()
        self._snapshot = snapshot
        self._holding = holding
        self._stats = stats
        self._handle = handle
        self._notify = notify
        self._queue: FairQueue[IncomingRequest] = FairQueue(
            self.limits.queue,
            self.limits.queue_per_tenant,
            self.limits.queue_per_client,
            self.limits.in_flight_per_client,
            self.limits.queue_bytes,
        )
        self._recent = SeenIds(self.limits.recent_ids)
        self._strangers = TokenBucket(self.limits.strangers_rate, self.limits.strangers_burst)
        self._not_pairing = TokenBucket(self.limits.not_pairing_rate, self.limits.not_pairing_burst)
        self._stranger_keys = BucketMap(self.limits.stranger_rate, self.limits.stranger_burst, 10_000)
        self._notices = TokenBucket(200, 200)
        self._tasks: dict[asyncio.Task[None], IncomingRequest] = {}
        self._unanswered: set[str] = set()
        self._is_pumping = False
        self.is_draining = False

    def receive(self, event: Event, raw: bytes, relay: str) -> DropReason | None:
        """Take an event (relays.interfaces.EventSink)."""
        stats = self._stats
        stats.received += 1
        if self.is_draining:
            return self._drop(DropReason.BUSY)
        signer = self._snapshot.signers.get(sole_recipient(event) or "")
        if signer is None:
            stats.drops["not-served"] += 1
            return None
        if not self._holding.fence(signer.shard):
            return self._drop(DropReason.NOT_READY)
        # Before the client's rate: relays bring the same event several times, and the client must not pay for that.
        # Over the built-in relay it comes a second time only when its client sends it again, and then its answer does;
        # but not while it waits or is answered, for that answer goes to all who wait for it.
        if event.id in self._recent and (relay != BUILT_IN or event.id in self._unanswered):
            stats.drops["duplicate"] += 1
            return None
        now = time.monotonic()
        connection = signer.clients.get(event.pubkey)
        if connection is None:
            self._receive_stranger(IncomingRequest(event, raw, relay, signer, None, now))
            return None
        bucket = connection.bucket
        if bucket is None:
            # Made on first use: of many thousand connections most are silent.
            bucket = connection.bucket = self._bucket_for(connection)
        item = IncomingRequest(event, raw, relay, signer, connection, now)
        if not bucket.take(now=now):
            return self._turn_away(item, DropReason.RATE_LIMITED, RATE_LIMITED)
        most = self.limits.machine_day if connection.is_machine else self.limits.client_day
        day = int(time.time()) // SECONDS_A_DAY
        if not connection.take_of_day(day, most):
            return self._turn_away(item, DropReason.RATE_LIMITED, APP_DAY_IS_FULL)
        if not signer.tenant.take_of_day(day, self.limits.tenant_day):
            return self._turn_away(item, DropReason.RATE_LIMITED, TENANT_DAY_IS_FULL)
        if not self._admit(signer.tenant.chain, item):
            return self._turn_away(item, DropReason.BUSY, BUSY)
        return None

    def _bucket_for(self, connection: ConnectionRecord) -> TokenBucket:
        limits = self.limits
        if connection.is_machine:
            return TokenBucket(limits.machine_rate, limits.machine_burst)
        return TokenBucket(limits.client_rate, limits.client_burst)

    def _receive_stranger(self, item: IncomingRequest) -> None:
        """A stranger may try to pair, only so often, and seldom where no secret waits: a used URL has to be told so."""
        signer = item.signer
        # Two allowances: whoever floods signers that wait for nobody must not take what those have that do wait.
        shared = self._strangers if signer.is_pairing(time.time()) else self._not_pairing
        if signer.strangers is None:
            signer.strangers = TokenBucket(self.limits.signer_stranger_rate, self.limits.signer_stranger_burst)
        if not (
            # From the narrowest to the widest: a noisy key uses up its own allowance before it takes any of what all
            # strangers share.
            self._stranger_keys.of(item.event.pubkey).take()
            and signer.strangers.take(now=item.received)
            and shared.take(now=item.received)
        ):
            self._stats.drops["stranger-rate"] += 1
        elif not self._admit(_STRANGERS, item):
            self._stats.drops["stranger-busy"] += 1

    def _admit(self, lane: str, item: IncomingRequest) -> bool:
        queue, client = self._queue, item.event.pubkey
        if len(self._tasks) < self.limits.in_flight:
            item.share = queue.enter(lane, client)
        if item.share is not None:
            self._start(item, self._handle(item))
        elif not queue.offer(lane, client, item, len(item.raw)):
            return False
        self._recent.add(item.event.id)
        self._unanswered.add(item.event.id)
        self._stats.queued = queue.size
        return True

    def _turn_away(self, item: IncomingRequest, reason: DropReason, text: str) -> DropReason:
        """Count it, and tell the client, if it has not been told too often."""
        connection = item.connection
        # A refusal costs an encryption and a signature. Without bounds a flood would be answered with as much work as
        # it asked for.
        if (
            connection is not None
            and connection.may_be_refused(item.received)
            and self._notices.take(now=item.received)
        ):
            self._start(item, self._notify(item, text))
        self._stats.tally.count(item.signer.tenant.chain, REFUSED)
        return self._drop(reason)

    def _drop(self, reason: DropReason) -> DropReason:
        self._stats.drops[reason.value] += 1
        return reason

    def _start(self, item: IncomingRequest, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = item
        self._stats.in_flight = len(self._tasks)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        item = self._tasks.pop(task, None)
        if item is not None:
            self._unanswered.discard(item.event.id)
            if item.share is not None:
                self._queue.leave(item.share)
                item.share = None
        self._stats.in_flight = len(self._tasks)
        if self._queue.is_ready and not self._is_pumping:
            self._is_pumping = True
            # Later in the loop, not here: many requests end in one turn of it, and one pump serves them all.
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Start what waits, a slice at a time so that sockets get their turn."""
        self._is_pumping = False
        for _ in range(_SLICE):
            if not self._queue.is_ready or len(self._tasks) >= self.limits.in_flight:
                break
            item, share = self._queue.take()
            item.share = share
            self._start(item, self._handle(item))
        self._stats.queued = self._queue.size
        if self._queue.is_ready and len(self._tasks) < self.limits.in_flight:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def spawn(self, item: IncomingRequest, work: Coroutine[Any, Any, None]) -> None:
        """Run work on behalf of an item that did not come through ``receive`` (recovery), counted like any other."""
        self._recent.add(item.event.id)
        self._unanswered.add(item.event.id)
        self._start(item, work)

    def forget(self, event_id: str) -> None:
        """Let an event in again that could not be handled."""
        self._recent.discard(event_id)

    def at_work_on(self) -> set[str]:
        """Event ids of the requests that are being answered."""
        return {item.event.id for item in self._tasks.values()}

    def is_busy_with(self, shard: int) -> bool:
        """True while a request of this shard is being answered."""
        return any(item.signer.shard == shard for item in self._tasks.values())

    async def drain(self, seconds: float) -> int:
        """Take nothing new, finish what was begun; the number of requests that were given up."""
        self.is_draining = True
        deadline = time.monotonic() + seconds
        while (self._tasks or self._queue.size) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1)
        return len(late)
