"""NIP-01 with an outbound relay, over one connection: what it may say, what that costs it, what we answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bunker.relays.authentication import Nip42Authentication
from bunker.relays.event_checks import Intake, IntakeSource
from bunker.relays.health_score import RelayMeasurements
from bunker.relays.interfaces import DropReason, EventSink
from bunker.relays.limits import OutboundLimits
from bunker.relays.pending import PendingPublications
from bunker.relays.subscription_plan import WIDE, SubscriptionPlan
from keycast.base.token_bucket import TokenBucket

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
_as_text = msgspec.json.Decoder(str).decode
_as_bool = msgspec.json.Decoder(bool).decode
_encode = msgspec.json.Encoder().encode

MISBEHAVIOUR = frozenset(
    {
        DropReason.TOO_LARGE,
        DropReason.MALFORMED,
        DropReason.WRONG_KIND,
        DropReason.WRONG_RECIPIENT,
        DropReason.BAD_ID,
        DropReason.BAD_SIGNATURE,
    }
)
"""What an honest relay does not send, given our filters."""

MOST_QUEUED = 2_000
RETRY_FIRST = 15.0
RETRY_MOST = 600.0


class RelayMisbehaved(Exception):
    """The relay sent too much of what it should not."""


@dataclass(slots=True)
class OpenSubscription:
    """One subscription on this connection; monotonic seconds. ``retry_at`` is set while the relay has it closed."""

    at: float
    has_ended: bool = False
    retry_at: float | None = None
    refusals: int = 0


class RelayProtocol:
    """Everything about one connection but the socket. ``receive`` and ``tick`` are synchronous."""

    def __init__(
        self,
        lane: IntakeSource,
        keys: Collection[str],
        plan: SubscriptionPlan,
        outgoing: PendingPublications,
        vitals: RelayMeasurements,
        *,
        intake: Intake,
        sink: Callable[[], EventSink | None],
        authentication: Nip42Authentication,
        limits: OutboundLimits,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._lane, self._keys, self._plan, self._outgoing, self._vitals = lane, keys, plan, outgoing, vitals
        self._intake, self._sink, self._limits = intake, sink, limits
        self._clock, self._wall = clock, wall
        self._auth = authentication
        self._asked: dict[str, OpenSubscription] = {}
        self._strikes = TokenBucket(1.0, limits.strikes, clock)
        self._surplus = TokenBucket(limits.surplus_per_second, 20 * limits.surplus_per_second, clock)
        self.out: deque[str] = deque()
        self.wanted = asyncio.Event()

    # What the link does

    def start(self) -> None:
        """Open every subscription of the plan and send what waits."""
        # What was sent on the connection before has got no OK: it is sent again, and a relay that has it says
        # duplicate.
        self._outgoing.disconnected()
        self.change(self._plan.names, ())
        self.send_due()

    def change(self, opened: Iterable[str], closed: Iterable[str]) -> None:
        """Open or replace some subscriptions and close others."""
        for name in closed:
            if self._asked.pop(name, None) is not None:
                self._say("CLOSE", name)
        for name in opened:
            self._ask(name, self._asked.get(name))

    def send_due(self) -> None:
        """Send the events that are due."""
        for frame in self._outgoing.due(self._clock()):
            self._put(frame)

    def tick(self) -> None:
        """Do what time brings: send again, ask again, answer a challenge."""
        now = self._clock()
        self.send_due()
        for name, asked in self._asked.items():
            if asked.retry_at is not None and asked.retry_at <= now:
                self._ask(name, asked)

    def receive(self, message: bytes) -> None:
        """Act on one frame. Raises Misbehaved."""
        try:
            parts = _decode(message)
            name = _as_text(parts[0])
            self._dispatch(name, parts)
        except (ValueError, IndexError, RecursionError):
            self._strike(DropReason.MALFORMED)

    # Messages

    def _dispatch(self, name: str, parts: list[msgspec.Raw]) -> None:
        if name == "EVENT":
            self._event(_as_text(parts[1]), bytes(parts[2]))
        elif name == "OK":
            self._ok(_as_text(parts[1]), _as_bool(parts[2]), _as_text(parts[3]) if len(parts) > 3 else "")
        elif name == "EOSE":
            self._eose(_as_text(parts[1]))
        elif name == "CLOSED":
            self._closed(_as_text(parts[1]), _as_text(parts[2]) if len(parts) > 2 else "")
        elif name == "AUTH":
            self._auth.challenged(_as_text(parts[1]))
        elif name == "NOTICE":
            self._vitals.notices += 1
        else:
            self._strike(DropReason.UNASKED)

    def _event(self, name: str, raw: bytes) -> None:
        sink = self._sink()
        if name not in self._asked:
            self._strike(DropReason.UNASKED)
            return
        if sink is None:
            self._intake.drop(self._lane, DropReason.NOT_READY)
            return
        event, reason = self._intake.admit(raw.strip(), self._lane)
        if event is not None and reason is None:
            self._intake.hand_over(event, raw, self._lane, sink)
        elif reason in MISBEHAVIOUR:
            self._count_strike()
        elif event is not None and reason in {DropReason.UNASKED, DropReason.NOT_SERVED}:
            self._not_ours(event)

    def _not_ours(self, event: Event) -> None:
        """Bear with relays that ignore ``#p`` for live events, within bounds, and with echoes of our own replies."""
        if event.pubkey not in self._keys and not self._plan.is_wide and not self._surplus.take():
            raise RelayMisbehaved

    def _ok(self, event_id: str, accepted: bool, text: str) -> None:
        # The OK to our AUTH comes by the same message as those to events, so it is looked for first.
        if self._auth.answered(event_id, accepted):
            if accepted:
                self._authenticated()
            return
        if event_id not in self._outgoing:
            self._strike(DropReason.UNASKED)
            return
        needs_auth, took = self._outgoing.answered(event_id, accepted, text, self._clock())
        if needs_auth:
            self._auth.ask(self._put_bytes)
        elif event_id in self._outgoing or not (accepted or text.startswith("duplicate")):
            self._vitals.refusal()
        else:
            self._vitals.ok(took)

    def _eose(self, name: str) -> None:
        asked = self._asked.get(name)
        if asked is None:
            self._strike(DropReason.UNASKED)
        elif not asked.has_ended:
            asked.has_ended, asked.refusals = True, 0
            self._vitals.eose(self._clock() - asked.at)

    def _closed(self, name: str, text: str) -> None:
        asked = self._asked.get(name)
        if asked is None:
            self._strike(DropReason.UNASKED)
            return
        self._vitals.refusal()
        asked.refusals += 1
        asked.retry_at = self._clock() + min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(asked.refusals, 8))
        if text.startswith("auth-required"):
            self._auth.ask(self._put_bytes)
        # A relay that refuses the subscription to the whole kind gets chunks by key instead; asking again would be
        # refused again.
        elif name == WIDE:
            self.change(*self._plan.refuse_wide(self._keys))

    # Inside

    def _authenticated(self) -> None:
        """Ask again for what the relay had refused for want of NIP-42."""
        self._outgoing.authenticated()
        self.change([name for name, asked in self._asked.items() if asked.retry_at is not None], ())
        self.send_due()

    def _ask(self, name: str, before: OpenSubscription | None) -> None:
        # Some way back: what came while this connection was down is asked for as well, and duplicates cost nothing.
        since = int(self._wall()) - self._limits.since_overlap
        self._asked[name] = OpenSubscription(self._clock(), refusals=before.refusals if before else 0)
        self._say("REQ", name, self._plan.filter(name, since))

    def _say(self, *parts: object) -> None:
        self._put(_encode(parts).decode())

    def _put_bytes(self, frame: bytes) -> None:
        self._put(frame.decode())

    def _put(self, frame: str) -> None:
        if len(self.out) >= MOST_QUEUED:
            raise RelayMisbehaved  # it does not read what we send
        self.out.append(frame)
        self.wanted.set()

    def _strike(self, reason: DropReason) -> None:
        self._intake.drop(self._lane, reason)
        self._count_strike()

    def _count_strike(self) -> None:
        if not self._strikes.take():
            raise RelayMisbehaved
