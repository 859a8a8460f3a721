"""Sends replies out: over the built-in relay at once, over the connection's others until one says OK (step 14)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bunker.relays.interfaces import BUILT_IN, Publication, RelayPublisher, ReplyPort
from bunker.worker.commit_jobs import ABANDONED, ANSWERED, PUBLISHED
from bunker.worker.group_commit import BatchWriter
from bunker.worker.replies import ReplyEvent
from bunker.worker.snapshot import Snapshot
from bunker.worker.stats import WorkerStats

# As long as a request is fresh: who asks again after that has to send a new one anyway.
REPLY_LIFETIME = 300.0
"""Seconds for which an undelivered reply is offered to relays that come back."""


class Publisher:
    """One reply, every live relay of its connection; then its row says so, in some later batch."""

    def __init__(
        self, port: ReplyPort, pool: RelayPublisher | None, snapshot: Snapshot, writer: BatchWriter, stats: WorkerStats
    ) -> None:
        self._port = port
        self._pool = pool
        self._snapshot = snapshot
        self._writer = writer
        self._stats = stats
        self.pending: set[str] = set()
        """Event ids of requests whose replies wait for an outbound relay."""

    def fits(self, size: int, relays: tuple[str, ...], came_from: str) -> bool:
        """Tell whether a reply of ``size`` bytes can go back the way its request came (threats T11)."""
        if self._pool is None or not came_from.startswith("ws"):
            return True
        return self._pool.fits(size, self._ways(relays, came_from))

    def state_for(self, relays: tuple[str, ...], came_from: str) -> str:
        """The state with which a reply is stored.

        Over the built-in relay it is published in the moment after the commit, so that is what is written at once:
        a crash in between is made good by recovery, which repeats the replies of a dead worker's last seconds.
        ``answered`` is what still waits for an outbound relay's OK.
        """
        return PUBLISHED if came_from == BUILT_IN or not self._ways(relays, came_from) else ANSWERED

    def publish(self, reply: ReplyEvent, relays: tuple[str, ...], came_from: str, request: str | None) -> None:
        """Send ``reply`` out. ``request`` is the event id of a row in state ``answered``, or None."""
        # Always there too, whatever way the request came: the client may be listening at the built-in relay by now.
        self._port.publish(reply.event, reply.raw)
        self._stats.published += 1
        outbound = self._ways(relays, came_from)
        if outbound and self._pool is not None:
            is_heard = any(map(self._snapshot.is_built_in, relays))
            self._offer(reply, outbound, request, is_heard=is_heard)
        elif request is not None:
            self._writer.published(request, PUBLISHED)

    def _ways(self, relays: tuple[str, ...], came_from: str) -> Sequence[str]:
        """The outbound relays of a connection, and the one that brought the request: a stranger has no other."""
        outbound = self._snapshot.outbound(relays)
        # The relay that brought it comes first: there the client is known to be.
        if came_from.startswith("ws") and came_from not in outbound:
            return (came_from, *outbound)
        return outbound

    def _offer(self, reply: ReplyEvent, outbound: Sequence[str], request: str | None, *, is_heard: bool) -> None:
        # Whoever listens at the built-in relay as well (is_heard) had it there, whatever becomes of the others.
        assert self._pool is not None  # noqa: S101 -- checked by the caller

        def settled(publication: Publication) -> None:
            if request is not None:
                self.pending.discard(request)
                self._writer.published(request, PUBLISHED if publication.is_accepted or is_heard else ABANDONED)

        if request is not None:
            self.pending.add(request)
        self._pool.publish(
            reply.event, reply.raw, outbound, expires_at=time.time() + REPLY_LIFETIME, on_settled=settled
        )
