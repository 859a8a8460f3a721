"""Steps 1-6 of the order of checks (bunker.md), cheap before dear, shared by every relay.

One ``Intake`` per process: the id and signature of an event are verified once, whichever relays bring it. An id is
remembered only after verification, so a forged copy that arrives first never blocks the true event (threats.md T4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from time import monotonic, time

from bunker.relays.counters import Counters
from bunker.relays.interfaces import DropReason, EventSink, ServedKeys
from bunker.relays.limits import IntakeLimits
from keycast.base.seen_ids import SeenIds
from keycast.base.token_bucket import TokenBucket
from keycast.crypto import schnorr
from keycast.nostr.nip01 import Event, EventError, EventHead, id_of, is_expired, parse_event, parse_head
from keycast.nostr.types import is_hex

KIND = 24133
_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f]{64})"')
LONG = 8 * 1024
"""Bytes of an event from which on it is looked at without its content, before it is parsed."""
VERY_LONG = 64 * 1024
"""Bytes of an event from which on its author must be a client that its signer knows, or waits for."""


class NoServedKeys:
    """The served keys of a process in which no worker has spoken yet: none."""

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        """Serve no key at all."""
        return False

    def tenant_of(self, public_key: str) -> str | None:
        """No key, no tenant."""
        return None

    def knows(self, client: str, signer: str) -> bool:
        """Know nobody."""
        return False

    def is_pairing(self, signer: str) -> bool:
        """Wait for nobody."""
        return False


class IntakeSource:
    """One source of events as the intake sees it: its name, its tenant scope, its verification budget.

    ``takes_replies`` is for the built-in relay, which also passes on what a served key sends to a client; ``wanted``
    is for outbound relays: the keys that we asked this one about (None: all that are served).
    """

    __slots__ = ("budget", "relay", "scope", "takes_replies", "wanted")

    def __init__(
        self, relay: str, budget: TokenBucket, scope: str | None = None, *, takes_replies: bool = False
    ) -> None:
        self.relay = relay
        self.budget = budget
        self.scope = scope
        self.takes_replies = takes_replies
        self.wanted: Container[str] | None = None


class Intake:
    """Decides which events reach the worker. Synchronous, no I/O, never raises on input."""

    def __init__(
        self,
        served: ServedKeys | None = None,
        limits: IntakeLimits | None = None,
        *,
        counters: Counters | None = None,
        now: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.served: ServedKeys = served or NoServedKeys()
        self.limits = limits or IntakeLimits()
        self.counters = counters or Counters()
        self.now = now
        self._clock = clock
        self._global = TokenBucket(self.limits.verifications, self.limits.verifications, clock)
        self._seen = SeenIds(self.limits.seen_ids, self.limits.seen_seconds, clock)

    def lane(self, relay: str) -> IntakeSource:
        """Open a lane for an outbound relay, with a verification budget of its own."""
        rate = self.limits.relay_verifications
        return IntakeSource(relay, TokenBucket(rate, rate, self._clock))

    def admit(self, raw: bytes, lane: IntakeSource) -> tuple[Event | None, DropReason | None]:
        """Run every check on one event object (its JSON alone, not the frame).

        Returns (event, None) for a verified, fresh, first-seen event from or to a served key; (event, reason) or
        (None, reason) otherwise. Nothing is remembered yet: the caller hands the event over, then ``remember``s it.
        """
        event: Event | None = None
        if len(raw) > self.limits.frame_bytes:
            reason: DropReason | None = DropReason.TOO_LARGE
        else:
            try:
                head = parse_head(raw) if len(raw) > LONG else None
                reason = None if head is None else self._screen_head(head, len(raw), lane)
                if reason is None:
                    event = parse_event(raw)
                    reason = self._screen(event, lane) or self._verify_parsed(event, head, lane)
            except EventError as error:
                reason = DropReason.TOO_LARGE if error.code == "too-large" else DropReason.MALFORMED
        if reason is None:
            self.counters.accepted[lane.relay] += 1
        else:
            self.counters.drops[lane.relay, reason] += 1
        return event, reason

    def hand_over(self, event: Event, raw: bytes, lane: IntakeSource, sink: EventSink) -> DropReason | None:
        """Give an admitted event to ``sink``; remember its id unless the sender may try again."""
        refusal = sink.receive(event, raw, lane.relay)
        if refusal is None:
            self._seen.add(event.id)
        else:
            self.counters.drops[lane.relay, refusal] += 1
        return refusal

    def remember(self, event_id: str) -> None:
        """Remember the id of an admitted event that was taken care of without the worker."""
        self._seen.add(event_id)

    def forget(self, event_id: str) -> None:
        """Let an id in again (see ``ReplyPort.forget``)."""
        self._seen.discard(event_id)

    def is_genuine(self, event: Event, lane: IntakeSource) -> bool:
        """Whether id and signature of an event are right, within the budget of its sender."""
        return self.verify(event, lane) is None

    def drop(self, lane: IntakeSource, reason: DropReason) -> None:
        """Count a drop that was decided before the event was looked at (steps 1 and 2)."""
        self.counters.drops[lane.relay, reason] += 1

    def _screen_head(self, head: EventHead, size: int, lane: IntakeSource) -> DropReason | None:
        """Whether a long event is refused for what stands beside its content. Raises EventError.

        Its signature is checked over the id that it claims: hashing and parsing it costs up to a hundred times as much.
        """
        reason = self._screen(head, lane)
        if reason is not None and reason is not DropReason.DUPLICATE:  # that is needed whole: its answer comes again
            return reason
        if not (is_hex(head.id, 32) and is_hex(head.pubkey, 32) and is_hex(head.sig, 64)):
            return DropReason.MALFORMED
        if not self._may_verify(lane):
            return DropReason.OVER_BUDGET
        if not schnorr.verify(bytes.fromhex(head.pubkey), bytes.fromhex(head.id), bytes.fromhex(head.sig)):
            return DropReason.BAD_SIGNATURE
        # Only now, for whoever holds that key: whether a signer knows a client is nobody else's business.
        recipient = sole_recipient(head) or ""
        is_expected = (
            size <= VERY_LONG
            or self.served.knows(head.pubkey, recipient)
            or (
                self.served.is_pairing(recipient)
                or (lane.takes_replies and self.served.serves(head.pubkey, lane.scope))
            )
        )
        return None if is_expected else DropReason.STRANGER

    def _verify_parsed(self, event: Event, head: EventHead | None, lane: IntakeSource) -> DropReason | None:
        """Steps 5 and 6 of an event of which ``head`` was verified already, if it is not None."""
        if head is None or (event.id, event.pubkey, event.sig) != (head.id, head.pubkey, head.sig):
            return self.verify(event, lane)
        return None if id_of(event).hex() == event.id else DropReason.BAD_ID

    def _screen(self, event: Event | EventHead, lane: IntakeSource) -> DropReason | None:
        """Steps 3 and 4 and the memory of ids: everything that costs less than a microsecond."""
        if event.kind != KIND:
            return DropReason.WRONG_KIND
        recipient = sole_recipient(event)
        if recipient is None:
            return DropReason.WRONG_RECIPIENT
        # The keys that this relay was asked about, not all that are served: it brings nothing past its subscriptions.
        if lane.wanted is not None and recipient not in lane.wanted:
            return DropReason.UNASKED
        serves = self.served.serves
        if not serves(recipient, lane.scope) and not (lane.takes_replies and serves(event.pubkey, lane.scope)):
            return DropReason.NOT_SERVED
        now = self.now()
        if not -self.limits.freshness <= now - event.created_at <= self.limits.freshness:
            return DropReason.STALE
        if len(event.tags) > 1 and is_expired(event, int(now)):
            return DropReason.EXPIRED
        # The claimed id is not checked yet. That is safe: only verified ids are remembered, so at worst a forgery is
        # dropped as a duplicate of the true one.
        return DropReason.DUPLICATE if event.id in self._seen else None

    def verify(self, event: Event, lane: IntakeSource) -> DropReason | None:
        """Steps 5 and 6: why id or signature of an event are not to be believed, None if they are right.

        The relay's budget comes first, so that one relay's flood leaves the common one alone.
        """
        if not self._may_verify(lane):
            return DropReason.OVER_BUDGET
        computed = id_of(event)
        if computed.hex() != event.id:
            return DropReason.BAD_ID
        if not schnorr.verify(bytes.fromhex(event.pubkey), computed, bytes.fromhex(event.sig)):
            return DropReason.BAD_SIGNATURE
        return None

    def _may_verify(self, lane: IntakeSource) -> bool:
        if not lane.budget.take():
            return False
        if not self._global.take():
            # The others' flood is not this relay's fault.
            lane.budget.give_back()
            return False
        return True


def sole_recipient(event: Event | EventHead) -> str | None:
    """Return the value of the only ``p`` tag, or None when there is none or more than one (NIP-46)."""
    found: str | None = None
    for tag in event.tags:
        if tag and tag[0] == "p":
            if found is not None or len(tag) < 2:
                return None
            found = tag[1]
    return found


def claimed_id(raw: bytes) -> str | None:
    """Find what looks like the id in an event that does not parse, for the relay's OK message. Never trusted.

    At either end: JavaScript libraries write it after the content, others before. In a text, quotes are escaped.
    """
    match = _ID.search(raw[:4096]) or _ID.search(raw[-4096:])
    return match[1].decode() if match else None
