"""One outbound relay: connected, served, and connected again, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from time import monotonic, time

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bunker.relays.authentication import Nip42Authentication
from bunker.relays.bounded_connection import BoundedConnection
from bunker.relays.conversation import RelayMisbehaved, RelayProtocol
from bunker.relays.event_checks import Intake
from bunker.relays.health_score import RelayMeasurements
from bunker.relays.interfaces import EventSink, Nip42Signer, Publication, RelayHealth, RelayStatus
from bunker.relays.limits import OutboundLimits
from bunker.relays.pending import PendingPublications
from bunker.relays.ssrf_guard import RelayRefused, SsrfGuard
from bunker.relays.subscription_plan import SubscriptionPlan
from keycast.base.token_bucket import TokenBucket

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundContext:
    """What every link of a pool shares."""

    intake: Intake
    guard: SsrfGuard
    limits: OutboundLimits
    settle: Callable[[Publication], None]
    sink: Callable[[], EventSink | None]
    authenticator: Nip42Signer | None = None
    clock: Callable[[], float] = monotonic
    wall: Callable[[], float] = time


@cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context: certificates and names verified."""
    return ssl.create_default_context()


class NoRedirects(connect):
    """The library's connect, but a redirect is a refusal (threats.md S3)."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow nothing."""
        return exc


class OutboundRelayConnection:
    """Keeps one connection to ``url``. A relay that fails or misbehaves waits, longer each time, and hurts no other."""

    def __init__(self, url: str, around: OutboundContext) -> None:
        self.url = url
        self._around = around
        self._keys: set[str] = set()
        self._lane = around.intake.lane(url)
        self._lane.wanted = self._keys
        self._plan = SubscriptionPlan(around.limits.keys_per_filter, around.limits.subscriptions)
        self._outgoing = PendingPublications(url, around.limits, around.settle)
        self._vitals = RelayMeasurements()
        self._offences = 0
        self._talk: RelayProtocol | None = None

    # What the pool does

    def want(self, keys: Collection[str]) -> None:
        """Serve exactly ``keys`` on this relay."""
        if len(keys) == len(self._keys) and self._keys.issuperset(keys):
            return
        # The same set is kept: the intake, the authentication and the running connection look at it too.
        self._keys.clear()
        self._keys.update(keys)
        opened, closed = self._plan.update(self._keys)
        if self._talk is not None:
            with suppress(RelayMisbehaved):  # a full queue: the writer's own timeout ends this connection
                self._talk.change(opened, closed)

    def publish(self, publication: Publication, author: str, raw: bytes) -> None:
        """Send an event, now or when connected."""
        if self._outgoing.add(publication, author, raw) and self._talk is not None:
            with suppress(RelayMisbehaved):
                self._talk.send_due()

    def tick(self) -> None:
        """Do what time brings."""
        self._outgoing.expire(self._around.wall())
        if self._talk is not None:
            with suppress(RelayMisbehaved):
                self._talk.tick()

    def abandon(self) -> None:
        """This relay is no longer wanted: settle what waited for it."""
        self._outgoing.abandon()
        self._around.intake.counters.forget_relay(self.url)

    def health(self) -> RelayHealth:
        """Return the measurements of this relay."""
        drops = self._around.intake.counters.drops_of(self.url)
        return self._vitals.report(self.url, len(self._keys), drops, len(self._outgoing))

    # Its life

    async def run(self) -> None:
        """Connect, serve, wait; until cancelled."""
        while True:
            started = self._around.clock()
            pause = self._pause
            try:
                await self._connected()
            except RelayRefused:
                self._vitals.status = RelayStatus.REFUSED
            except RelayMisbehaved:
                pause = self._penalty
            except (OSError, WebSocketException, EOFError):
                self._vitals.status = RelayStatus.WAITING
            except Exception as error:  # loop top (relay): of outbound ones
                self._around.intake.counters.misc["relay-errors"] += 1
                logger.error("an outbound relay connection failed", extra={"error": type(error).__name__})
            self._ended(self._around.clock() - started)
            await asyncio.sleep(pause())

    def _ended(self, lasted: float) -> None:
        if self._vitals.status is not RelayStatus.REFUSED:
            self._vitals.status = RelayStatus.WAITING
        self._vitals.bad()
        # Only a connection that lasted makes the pause short again: a relay that accepts and hangs up at once would
        # otherwise be called every second.
        self._vitals.failures = 1 if lasted >= self._around.limits.stable_after else self._vitals.failures + 1

    def _pause(self) -> float:
        limits = self._around.limits
        longest = min(limits.backoff_most, limits.backoff_first * 2.0 ** min(self._vitals.failures - 1, 16))
        # Spread out: all workers lose a relay in the same moment, and must not come back in the same moment.
        return random.uniform(longest / 2, longest)  # noqa: S311  (jitter, not a secret)

    def _penalty(self) -> float:
        limits = self._around.limits
        # Never counted down: a relay that misbehaves again and again waits longer each time, for as long as this
        # process runs.
        self._offences += 1
        self._around.intake.counters.misc["relays-punished"] += 1
        longest = min(limits.penalty_most, limits.penalty_first * 2.0 ** min(self._offences - 1, 16))
        return random.uniform(longest / 2, longest)  # noqa: S311

    async def _connected(self) -> None:
        """One connection, from look-up to close."""
        if self._vitals.status is not RelayStatus.REFUSED:
            self._vitals.status = RelayStatus.CONNECTING
        socket = await self._open()
        try:
            await self._serve(socket)
        finally:
            self._talk = None
            self._outgoing.disconnected()
            await self._hang_up(socket)

    async def _hang_up(self, socket: ClientConnection) -> None:
        """Close properly if the relay lets us in time, else at once."""
        try:
            async with asyncio.timeout(self._around.limits.close_timeout):
                await socket.close()
        except OSError:  # TimeoutError is one
            return
        finally:
            # Also after a proper close: a relay that does not answer it would keep the socket.
            socket.transport.abort()

    async def _open(self) -> ClientConnection:
        limits = self._around.limits
        async with asyncio.timeout(2 * limits.open_timeout):
            relay, opened = await self._around.guard.open(self.url)
            try:
                return await NoRedirects(
                    relay.url,
                    sock=opened,
                    ssl=tls() if relay.is_tls else None,
                    server_hostname=relay.host if relay.is_tls else None,
                    create_connection=partial(BoundedConnection, limits=limits),  # type: ignore[arg-type]
                    compression=None,
                    # The guard has chosen the address and opened the socket; a proxy from the environment would go
                    # around it.
                    proxy=None,
                    user_agent_header="keycast",
                    open_timeout=limits.open_timeout,
                    close_timeout=limits.close_timeout,
                    ping_interval=limits.ping_interval,
                    ping_timeout=limits.ping_timeout,
                    max_size=self._around.intake.limits.frame_bytes,
                    max_queue=8,
                    logger=quiet,
                )
            # Cancelled too: nobody else knows of this socket yet.
            except BaseException:
                opened.close()
                raise

    async def _serve(self, socket: ClientConnection) -> None:
        around = self._around
        auth = Nip42Authentication(
            self.url, around.authenticator, lambda: self._keys, around.limits, around.clock, around.wall
        )
        talk = self._talk = RelayProtocol(
            self._lane,
            self._keys,
            self._plan,
            self._outgoing,
            self._vitals,
            intake=around.intake,
            sink=around.sink,
            authentication=auth,
            limits=around.limits,
            clock=around.clock,
            wall=around.wall,
        )
        self._vitals.status = RelayStatus.LIVE
        talk.start()
        try:
            await self._first_of(self._read(socket, talk), self._write(socket, talk))
        finally:
            auth.stop()

    async def _first_of(self, *jobs: object) -> None:
        """Run reader and writer; the first to end ends both, with its error."""
        tasks = [asyncio.ensure_future(job) for job in jobs]  # type: ignore[call-overload]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                # A reader without a writer, or the other way round, is a connection that seems to live.
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: ClientConnection, talk: RelayProtocol) -> None:
        """Read no faster than the relay may speak: what comes too fast waits in TCP, not in memory."""
        limits = self._around.limits
        speed = TokenBucket(limits.tokens_per_second, limits.tokens_per_second, self._around.clock)
        while True:
            message = await socket.recv(decode=False)
            wait = speed.charge(1 + len(message) // limits.token_bytes)
            if wait:
                await asyncio.sleep(wait)
            talk.receive(message)

    async def _write(self, socket: ClientConnection, talk: RelayProtocol) -> None:
        while True:
            await talk.wanted.wait()
            talk.wanted.clear()
            while talk.out:
                async with asyncio.timeout(self._around.limits.send_timeout):
                    await socket.send(talk.out.popleft())


quiet = logging.getLogger("bunker.relays.websockets")
quiet.setLevel(logging.CRITICAL)  # the library logs what peers send
