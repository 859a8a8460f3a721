"""Publications for relays that the pool has no link to yet: they wait for it, bounded, until they expire.

A relay becomes wanted a moment after the connection that names it was written, and with it comes its link. What is to
be published in between (the answer to a ``nostrconnect://`` URI above all) must not be lost for that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bunker.relays.interfaces import Publication, PublishState

NO_LINK = "not connected to this relay"


class WaitingPublication(NamedTuple):
    """One event for one relay; ``author`` is its public key in hex, ``raw`` its JSON."""

    publication: Publication
    author: str
    raw: bytes


class UnlinkedPublications:
    """By relay URL. ``most`` bounds the publications of all relays together, and a tenth of it those of each.

    So a relay that never gets a link (too many are wanted) leaves room for others. One more is refused at once.
    """

    def __init__(self, most: int, settle: Callable[[Publication], None]) -> None:
        self._most = most
        self._most_each = max(1, most // 10)
        self._settle = settle
        self._by_relay: dict[str, list[WaitingPublication]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_relay.values()))

    def add(self, url: str, publication: Publication, author: str, raw: bytes) -> None:
        """Keep an event for ``url`` until ``take`` or ``expire``; the pool settles what is refused here."""
        if len(self) >= self._most or len(self._by_relay.get(url, ())) >= self._most_each:
            self._finish(url, publication, PublishState.REFUSED, "too many events wait for a connection")
            return
        publication.states[url] = PublishState.PENDING
        self._by_relay.setdefault(url, []).append(WaitingPublication(publication, author, raw))

    def take(self, url: str) -> list[WaitingPublication]:
        """Everything that waits for ``url``, which has a link now."""
        return self._by_relay.pop(url, [])

    def expire(self, wall: float) -> None:
        """Give up on what is past its time (Unix seconds)."""
        for url, waiting in list(self._by_relay.items()):
            late = [item for item in waiting if item.publication.expires_at <= wall]
            kept = [item for item in waiting if item.publication.expires_at > wall]
            if kept:
                self._by_relay[url] = kept
            else:
                del self._by_relay[url]
            for item in late:
                self._finish(url, item.publication, PublishState.EXPIRED, NO_LINK)
                self._settle(item.publication)

    @staticmethod
    def _finish(url: str, publication: Publication, state: PublishState, reason: str) -> None:
        publication.states[url] = state
        publication.reasons[url] = reason
