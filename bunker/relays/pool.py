"""The outbound relays of one worker: one connection per relay, whatever the number of users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from time import monotonic, time
from typing import TYPE_CHECKING

from django.conf import settings

from bunker.relays.event_checks import Intake
from bunker.relays.interfaces import EventSink, Nip42Signer, Publication, PublishState, RelayHealth, Settled
from bunker.relays.limits import OutboundLimits
from bunker.relays.outbound import OutboundContext, OutboundRelayConnection
from bunker.relays.ssrf_guard import SsrfGuard
from bunker.relays.unlinked import UnlinkedPublications
from keycast.nostr.uris import UriError, normalize_relay_url

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

TICK_SECONDS = 1.0
STOP_SECONDS = 5.0
FRAME_OVERHEAD = len('["EVENT",]')


class RelayPool:
    """Implements ``interfaces.RelayPublisher``. Every method but ``run`` and ``stop`` is synchronous."""

    def __init__(
        self,
        intake: Intake,
        *,
        guard: SsrfGuard | None = None,
        authenticator: Nip42Signer | None = None,
        limits: OutboundLimits | None = None,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._intake = intake
        self._limits = limits or OutboundLimits()
        self._sink: EventSink | None = None
        self._around = OutboundContext(
            intake=intake,
            guard=guard or SsrfGuard(),
            limits=self._limits,
            settle=self._settle,
            sink=lambda: self._sink,
            authenticator=authenticator,
            clock=clock,
            wall=wall,
        )
        self._links: dict[str, OutboundRelayConnection] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._listeners: dict[Publication, Settled] = {}
        self._wall = wall
        self._unlinked = UnlinkedPublications(self._limits.pending, self._settle)
        self._is_running = False
        self._stopped = asyncio.Event()

    def attach(self, sink: EventSink) -> None:
        """Hand accepted events to ``sink``."""
        self._sink = sink

    def forget(self, event_id: str) -> None:
        """Let an event in again that could not be claimed."""
        self._intake.forget(event_id)

    def set_wanted(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Serve exactly these relays and keys; more relays than the bound are left out and counted.

        The operator's come first, then those that most keys wait on: nobody pushes them out by naming many others.
        """
        normal = {url: keys for raw, keys in wanted.items() if (url := normalized(raw)) is not None and keys}
        operators = {normalized(url) for url in settings.OUTBOUND_RELAYS}
        # Among equals those that are connected already: else every change would close some connections and open
        # others.
        ranked = sorted(normal, key=lambda url: (url not in operators, -len(normal[url]), url not in self._links))
        served = ranked[: self._limits.relays]
        self._intake.counters.misc["relays-over-bound"] += len(ranked) - len(served)
        for url in set(self._links).difference(served):
            self._remove(url)
        for url in served:
            if url not in self._links:
                self._links[url] = OutboundRelayConnection(url, self._around)
            self._links[url].want(normal[url])
            for waiting in self._unlinked.take(url):
                self._links[url].publish(*waiting)
        self._start_missing()

    def publish(
        self,
        event: Event,
        raw: bytes,
        relays: Sequence[str],
        *,
        expires_at: float,
        on_settled: Settled | None = None,
    ) -> Publication:
        """Send to each of ``relays``, now and again until it accepts or time is up.

        A relay without a link is waited for: it may become wanted in the next moment (``set_wanted``).
        """
        publication = Publication(event.id, expires_at)
        urls = [url for url in dict.fromkeys(map(normalized, relays)) if url is not None]
        # Pending everywhere before the first is tried, or its refusal would settle what the others may still accept.
        publication.states.update(dict.fromkeys(urls, PublishState.PENDING))
        if on_settled is not None:
            self._listeners[publication] = on_settled
        for url in urls:
            link = self._links.get(url)
            if link is None:
                self._unlinked.add(url, publication, event.pubkey, raw)
            else:
                link.publish(publication, event.pubkey, raw)
        # Without any relay nothing is pending, and nobody else would ever report the outcome.
        self._settle(publication)
        return publication

    def fits(self, size: int, relays: Sequence[str]) -> bool:
        """Tell whether an event of ``size`` bytes may pass: our bound is what common relays take."""
        if size + FRAME_OVERHEAD > self._limits.event_bytes:
            return False
        return any(normalized(url) in self._links for url in relays)

    def health(self) -> list[RelayHealth]:
        """One row per relay, best first."""
        return sorted((link.health() for link in self._links.values()), key=lambda row: (-row.score, row.url))

    async def run(self) -> None:
        """Serve until stopped or cancelled."""
        self._is_running = True
        self._start_missing()
        try:
            while not self._stopped.is_set():
                for link in list(self._links.values()):
                    link.tick()
                self._unlinked.expire(self._wall())
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._stopped.wait()
                except TimeoutError:
                    continue
        finally:
            self._is_running = False
            await self._close_all()

    async def stop(self) -> None:
        """End ``run``; connections are closed properly, in bounded time."""
        self._stopped.set()
        await self._close_all()

    def _start_missing(self) -> None:
        if not self._is_running:
            return
        for url, link in self._links.items():
            if url not in self._tasks:
                self._tasks[url] = asyncio.create_task(link.run(), name=f"relay {url}")

    def _remove(self, url: str) -> None:
        # Settled before its task is cancelled: the worker hears of every publication, also on a relay that goes.
        self._links.pop(url).abandon()
        task = self._tasks.pop(url, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _close_all(self) -> None:
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

    def _settle(self, publication: Publication) -> None:
        """Tell the worker once: at the first acceptance, or when nothing is pending any more."""
        if publication.settled or (publication.is_pending and not publication.is_accepted):
            return
        publication.settled = True
        listener = self._listeners.pop(publication, None)
        if listener is not None:
            listener(publication)


@lru_cache(maxsize=4096)
def normalized(url: str) -> str | None:
    """Return the normal form of a relay URL, None for what is not one."""
    try:
        return normalize_relay_url(url)
    except UriError:
        return None
