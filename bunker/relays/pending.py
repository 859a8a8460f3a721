"""What still has to be accepted by one outbound relay: published again after a reconnect until it says OK true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bunker.relays.interfaces import Publication, PublishState
from bunker.relays.limits import OutboundLimits

MOST_REASON_CHARS = 120


@dataclass(slots=True, eq=False)
class PendingPublication:
    """One event on its way to one relay; times are monotonic seconds, ``sent_at`` None while not on this connection."""

    publication: Publication
    author: str
    frame: str
    sent_at: float | None = None
    due_at: float = 0.0
    tries: int = 0
    needs_auth: bool = False


class PendingPublications:
    """Bounded, by event id. Says what to send when; sends nothing itself."""

    def __init__(self, url: str, limits: OutboundLimits, settle: Callable[[Publication], None]) -> None:
        self._url = url
        self._limits = limits
        self._settle = settle
        self._items: dict[str, PendingPublication] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._items

    def add(self, publication: Publication, author: str, raw: bytes) -> bool:
        """Take an event; False, and refused, when too many wait."""
        publication.states[self._url] = PublishState.PENDING
        if len(self._items) >= self._limits.pending:
            self._finish(publication, PublishState.REFUSED, "too many events wait for this relay")
            return False
        before = self._items.get(publication.event_id)
        if before is not None:
            self._finish(before.publication, PublishState.EXPIRED, "published again")
        self._items[publication.event_id] = PendingPublication(publication, author, f'["EVENT",{raw.decode()}]')
        return True

    def disconnected(self) -> None:
        """Nothing is under way any more: everything is due again on the next connection."""
        for item in self._items.values():
            item.sent_at, item.due_at, item.needs_auth = None, 0.0, False

    def authenticated(self) -> None:
        """What waited for NIP-42 is due."""
        for item in self._items.values():
            if item.needs_auth:
                item.needs_auth, item.sent_at, item.due_at = False, None, 0.0

    def due(self, now: float) -> Iterator[str]:
        """Yield the frames to send now: new ones, refused ones whose pause is over, ones that got no answer."""
        for item in self._items.values():
            if item.needs_auth or item.due_at > now:
                continue
            if item.sent_at is not None and now - item.sent_at < self._limits.ok_timeout:
                continue
            if item.sent_at is not None and item.tries >= self._limits.tries:
                continue  # it stays, for the next connection
            item.sent_at, item.tries = now, item.tries + 1
            yield item.frame

    def answered(self, event_id: str, accepted: bool, text: str, now: float) -> tuple[bool, float | None]:
        """Take the relay's OK. Returns (whether NIP-42 is asked for, seconds it took; None when not accepted)."""
        item = self._items[event_id]
        prefix = text.partition(":")[0]
        # A duplicate is there, however the relay puts it: some answer false.
        if accepted or prefix == "duplicate":
            took = None if item.sent_at is None else now - item.sent_at
            self._finish(item.publication, PublishState.ACCEPTED, "")
            return False, took
        if prefix == "auth-required":
            item.needs_auth = True
            item.publication.reasons[self._url] = shortened(text)
            return True, None
        # Only these may pass by waiting; whatever else a relay says (blocked, invalid, restricted, pow) it will say
        # again.
        if prefix in {"rate-limited", "error"} and item.tries < self._limits.tries:
            item.sent_at, item.due_at = None, now + 2.0**item.tries
            item.publication.reasons[self._url] = shortened(text)
        else:
            self._finish(item.publication, PublishState.REFUSED, text)
        return False, None

    def expire(self, wall: float) -> None:
        """Give up on what is past its time (Unix seconds)."""
        for item in [item for item in self._items.values() if item.publication.expires_at <= wall]:
            self._finish(item.publication, PublishState.EXPIRED, item.publication.reasons.get(self._url, ""))

    def abandon(self) -> None:
        """Give up on everything: this relay is no longer wanted."""
        for item in list(self._items.values()):
            self._finish(item.publication, PublishState.EXPIRED, "relay no longer used")

    def _finish(self, publication: Publication, state: PublishState, text: str) -> None:
        self._items.pop(publication.event_id, None)
        publication.states[self._url] = state
        publication.reasons[self._url] = shortened(text)
        self._settle(publication)


def shortened(text: str) -> str:
    """Cut a relay's own words to what may be kept and shown: short, printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MOST_REASON_CHARS])
