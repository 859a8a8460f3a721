"""One client of the built-in relay: NIP-01 messages in, messages out. Synchronous, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from bunker.relays.client_keys import ClientKeys
from bunker.relays.copies import AT_ONCE, RequestOrder, WaitingCopies
from bunker.relays.event_checks import IntakeSource, claimed_id
from bunker.relays.filters import Filter, FilterError
from bunker.relays.interfaces import DropReason
from bunker.relays.requested_filters import AuthRequired, bytes_of, read_filters
from bunker.relays.shared_bound import Holding
from bunker.relays.work import SIGNATURE, UNIT_BYTES, UNIT_CANDIDATES, UNIT_VALUES
from keycast.base.seen_ids import SeenIds
from keycast.base.token_bucket import TokenBucket
from keycast.nostr.nip01 import EventError, parse_event

if TYPE_CHECKING:
    from bunker.relays.hub import RelayHub
    from keycast.nostr.nip01 import Event

_EVENT = b'["EVENT",{'
_MAY_BE_EVENT = re.compile(rb'\s*\[\s*"EVENT"\s*,')
LARGE = 16 * 1024
"""Bytes of an event from which on its cost is more than its signature's, which has a budget of its own."""
UNITS_OF_A_REQ, BYTES_OF_VALUES = 16, 256
"""What a REQ is taken to cost before it is read: some remembered replies, and the values that so many bytes hold."""
TOO_MUCH = "rate-limited: slow down"
_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
_quote = msgspec.json.Encoder().encode

OK_TEXT: dict[DropReason, tuple[bool, str]] = {
    DropReason.TOO_LARGE: (False, "invalid: the event is too large"),
    DropReason.MALFORMED: (False, "invalid: this is not an event"),
    DropReason.WRONG_KIND: (False, "blocked: only kind 24133 is taken here"),
    DropReason.WRONG_RECIPIENT: (False, "invalid: exactly one p tag is needed"),
    DropReason.NOT_SERVED: (False, "blocked: neither from nor to a signer of this relay"),
    DropReason.STALE: (False, "invalid: created_at is too far from the present"),
    DropReason.EXPIRED: (False, "invalid: the event has expired"),
    DropReason.DUPLICATE: (True, "duplicate: already have this event"),
    DropReason.OVER_BUDGET: (False, "rate-limited: slow down"),
    DropReason.BAD_ID: (False, "invalid: the id is not the hash of the event"),
    DropReason.BAD_SIGNATURE: (False, "invalid: bad signature"),
    DropReason.RATE_LIMITED: (False, "rate-limited: slow down"),
    DropReason.BUSY: (False, "error: busy, please try again"),
    DropReason.NOT_READY: (False, "error: the signer is not ready, please try again"),
    DropReason.STRANGER: (True, ""),  # as the worker: it learns nothing
    DropReason.UNASKED: (False, "blocked: not asked for"),
}
"""What the sender reads for each drop: NIP-01's machine-readable prefix, then words."""


class FrameSink(Protocol):
    """Where a session's frames go (see outbox.Outbox)."""

    is_overflown: bool

    def put(self, frame: bytes, *, lazy: bool = False) -> None:
        """Queue one text frame."""

    def flush(self) -> None:
        """Let lazy frames go."""

    def withdraw(self, frame: bytes) -> None:
        """Take a lazy frame back, if it has not left yet."""

    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""


class Subscription:
    """One open REQ, the ``serial``-th of its connection. ``prefix`` is the start of every frame that it is sent."""

    __slots__ = ("filters", "name", "prefix", "serial", "session", "size", "value_count")

    def __init__(self, session: RelaySession, name: str, filters: list[Filter], serial: int = 0) -> None:
        self.serial = serial
        self.session = session
        self.name = name
        self.filters = filters
        self.value_count = sum(wanted.value_count for wanted in filters)
        self.size = bytes_of(filters)
        self.prefix = b'["EVENT",%b,' % _quote(name)

    def wants(self, event: Event, recipient: str) -> bool:
        """Whether one of its filters matches ``event``, whose only ``p`` tag is ``recipient``."""
        return any(wanted.matches(event, recipient) for wanted in self.filters)


class RelaySession:
    """State of one connection: its tenant scope, subscriptions and limits."""

    __slots__ = (
        "_clock", "_copies", "_cost", "_delivered", "_events", "_frames", "_hub", "_incoming", "_kept", "_order",
        "_serial", "_signatures", "_size", "_work", "address", "has_ended", "keys", "lane", "on_end", "out", "scope",
        "subscriptions", "unread",
    )  # fmt: skip

    def __init__(
        self,
        hub: RelayHub,
        scope: str,
        lane: IntakeSource,
        out: FrameSink,
        clock: Callable[[], float],
        address: str,
        host: str = "",
    ) -> None:
        limits = hub.limits
        self._hub = hub
        self.scope = scope
        self.address = address
        self._work = hub.work.of(address)
        self._kept = Holding(hub.subscription_bytes, address, limits.subscription_bytes_free)
        self._incoming = Holding(hub.incoming_bytes, address, limits.request_bytes)
        self.unread = Holding(hub.unread_bytes, address, 0)
        self.lane = lane
        self.out = out
        self.has_ended = False
        self.on_end: Callable[[], object] = lambda: None
        self.subscriptions: dict[str, Subscription] = {}
        self._clock = clock
        self._order = RequestOrder()
        self._serial = 0
        self._size = self._cost = self._signatures = 0
        self.keys = ClientKeys(host, limits.auth_keys, hub.intake.now)
        self._copies: WaitingCopies | None = None
        self._delivered = SeenIds(limits.delivered_ids, limits.memory_seconds, clock)
        self._events = TokenBucket(limits.events_per_second, 2 * limits.events_per_second, clock)
        self._frames = TokenBucket(limits.frames_per_second, 2 * limits.frames_per_second, clock)

    def handle(self, text: bytes) -> float:
        """Act on one text frame (UTF-8). Returns how many seconds to wait before the next one is read, usually 0.0."""
        # As every client writes it: the event is cut out without parsing the array around it. Anything else takes the
        # long way.
        if text.startswith(_EVENT) and text.endswith(b"]"):
            self._event(text[9:-1])
        elif len(text) > self._longest(text):
            self._hub.intake.drop(self.lane, DropReason.TOO_LARGE)
            self._notice(f"invalid: the message is too large: at most {self._longest(text)} bytes")
        else:
            self._message(text)
        cost, signatures = self._cost + 1 + len(text) // UNIT_BYTES, self._signatures
        self._cost = self._signatures = 0
        return max(self._frames.charge(), self._work.charge(cost, signatures))

    def greet(self) -> None:
        """The connection is open: where nothing may be read without a key, ask for it at once (NIP-42)."""
        if self._hub.is_auth_required:
            self._challenge()

    @property
    def is_known(self) -> bool:
        """Whether the worker has answered it as a paired client: until then it is a stranger's."""
        return self._work.is_known

    def become_known(self, client: str) -> None:
        """The worker has answered ``client`` (its public key, hex) on it."""
        self._work.become_known(self._hub.work.of_client(client))
        self._incoming.move(self._hub.incoming_bytes_of_clients, self.scope)

    def keeps(self, size: int) -> bool:
        """Whether it may have ``size`` bytes of an unfinished message here; they are counted if so."""
        return self._incoming.resize(size)

    def is_idle(self, seconds: float) -> bool:
        """Whether it waits for nothing and has said nothing for ``seconds``."""
        return not self.subscriptions and self._frames.idle_for() > seconds

    def end(self) -> None:
        """Take nothing more and send nothing more, then have the connection closed (``on_end``)."""
        self.has_ended = True
        self.close()
        self.on_end()

    def close(self) -> None:
        """End every subscription; the connection is gone."""
        for subscription in self.subscriptions.values():
            self._hub.unsubscribe(subscription)
        self.subscriptions.clear()
        self._resize(0)
        self._incoming.resize(0)
        self.unread.resize(0)
        if self._copies is not None:
            self._copies.close()
        # The hub may know it for a while as the sender of an event: let go of what is large.
        self._order, self._delivered = RequestOrder(), SeenIds(1)

    # Messages

    def _message(self, text: bytes) -> None:
        try:
            parts = _decode(text)
            name = msgspec.json.decode(parts[0], type=str)
        except (ValueError, IndexError, RecursionError):
            self._hub.intake.drop(self.lane, DropReason.MALFORMED)
            self._notice("invalid: not a NIP-01 message")
            return
        if name == "EVENT" and len(parts) == 2:
            self._event(bytes(parts[1]).strip())
        elif name == "REQ":
            self._req(parts)
        elif name == "CLOSE" and len(parts) == 2:
            self._close(parts[1])
        elif name == "AUTH" and len(parts) == 2:
            self._authenticate(bytes(parts[1]).strip())
        else:
            self._notice("unsupported: unknown message")

    def _event(self, raw: bytes) -> None:
        # What is dear waits until its address has paid for what it had: hundreds of connections may ask at once.
        if not self._events.take() or (len(raw) > LARGE and not self._work.may_have(len(raw) / UNIT_BYTES)):
            self._hub.intake.drop(self.lane, DropReason.RATE_LIMITED)
            self._ok(claimed_id(raw), *OK_TEXT[DropReason.RATE_LIMITED])
            return
        self._signatures += SIGNATURE
        event, reason = self._hub.intake.admit(raw, self.lane)
        if event is not None and reason is None:
            reason = self._hub.accept(event, raw, self, self._order.of_next_request())
        elif event is not None and reason is DropReason.DUPLICATE:
            self._hub.repeat(event, raw, self, self._order.of_next_request())
        if reason is None and event is not None:
            self.out.put(_ok_frame(event.id), lazy=True)
            self._hub.flush_soon(self.out)
        else:
            self._ok(event.id if event is not None else claimed_id(raw), *OK_TEXT[reason or DropReason.MALFORMED])

    def _authenticate(self, raw: bytes) -> None:
        """NIP-42: a signed event of kind 22242 proves that the client holds its author's key."""
        try:
            event = parse_event(raw)
        except EventError:
            self._ok(claimed_id(raw), *OK_TEXT[DropReason.MALFORMED])
            return
        self._signatures += SIGNATURE
        text = self.keys.refusal_of(event)
        if text is None and (reason := self._hub.intake.verify(event, self.lane)) is not None:
            text = OK_TEXT[reason][1]
        if text is None:
            self.keys.add(event.pubkey)
        else:
            self._challenge()
        self._ok(event.id, text is None, text or "")

    def _challenge(self) -> None:
        self._send("AUTH", self.keys.challenge)

    def _longest(self, text: bytes) -> int:
        """Bytes that a message may have: an EVENT as many as a frame, any other fewer."""
        hub = self._hub
        return hub.intake.limits.frame_bytes if _MAY_BE_EVENT.match(text) else hub.limits.request_bytes

    def _req(self, parts: list[msgspec.Raw]) -> None:
        name = self._subscription_id(parts[1]) if len(parts) > 1 else None
        if name is None:
            self._notice("invalid: a subscription id has 1 to 64 characters")
            return
        try:
            if not self._work.may_have(UNITS_OF_A_REQ + sum(len(bytes(part)) for part in parts) / BYTES_OF_VALUES):
                raise FilterError(TOO_MUCH)
            hub = self._hub
            filters = read_filters(parts[2:], hub.limits, self.keys.proved, is_auth_required=hub.is_auth_required)
            self._check_room(name, filters)
        except FilterError as error:
            if isinstance(error, AuthRequired):
                self._challenge()
            # CLOSED is true of the name: nothing of an older subscription may come under it any more.
            self._drop_subscription(name)
            self._send("CLOSED", name, str(error))
            return
        self._drop_subscription(name)
        self._subscribe(name, filters)

    def _subscribe(self, name: str, filters: list[Filter]) -> None:
        """Stored events, then EOSE, then live ones: nothing runs in between, so none is missed or sent twice."""
        self._serial += 1
        subscription = Subscription(self, name, filters, self._serial)
        size = 0
        for item in self._hub.stored(filters, self):
            self.deliver(subscription, item.event.id, item.raw, lazy=True)
            size += len(item.raw)
        self._send("EOSE", name)
        self._cost += subscription.value_count // UNIT_VALUES + size // UNIT_BYTES
        self.subscriptions[name] = subscription
        self._resize(self._size + subscription.size)
        self._order.opened(subscription)
        self._hub.subscribe(subscription)

    def deliver(self, subscription: Subscription, event_id: str, raw: bytes, *, lazy: bool = False) -> None:
        """Send an event to one of this connection's subscriptions."""
        self._delivered.add(event_id)
        self.out.put(subscription.prefix + raw + b"]", lazy=lazy)

    def deliver_to(
        self, wanting: list[Subscription], event: Event, recipient: str, raw: bytes, first: Subscription | None
    ) -> None:
        """Send an event to those of this connection's subscriptions that want it; of many, to ``first`` at once."""
        if len(wanting) <= AT_ONCE:
            for subscription in wanting:
                self.deliver(subscription, event.id, raw)
            return
        if first is None or first not in wanting:
            first = min(wanting, key=lambda found: found.serial)
        self.deliver(first, event.id, raw)
        if self._copies is None:
            self._copies = WaitingCopies(self, self._hub.limits.queue_bytes, self._clock)
        self._copies.add(event, recipient, raw, first, self._serial)

    def has_had(self, event_id: str) -> bool:
        """Whether one of its subscriptions was sent this event already.

        A client with a subscription for each request would otherwise get all replies of the last minute each time.
        """
        return event_id in self._delivered

    def charge_candidates(self, count: int) -> None:
        """Have its address pay for ``count`` remembered replies that were compared with a filter."""
        self._cost += count // UNIT_CANDIDATES

    def refuse(self, event_id: str, reason: str) -> None:
        """Say that an event, which was taken, cannot be answered; instead of its OK, if that has not left yet."""
        self.out.withdraw(_ok_frame(event_id))
        self._ok(event_id, False, reason)

    def _check_room(self, name: str, filters: list[Filter]) -> None:
        """Refuse one subscription, or one value, too many. Raises FilterError."""
        limits = self._hub.limits
        others = [found for found in self.subscriptions.values() if found.name != name]
        if len(others) >= limits.subscriptions:
            raise FilterError("rate-limited: too many subscriptions")
        wanted = sum(item.value_count for item in filters) + sum(found.value_count for found in others)
        if wanted > limits.filter_values_per_connection:
            raise FilterError("rate-limited: too many values in the filters of this connection")
        own = self.subscriptions.get(name)
        elsewhere = self._hub.values_of(self.address) - (0 if own is None else own.value_count)
        if elsewhere + sum(item.value_count for item in filters) > limits.filter_values_per_ip:
            raise FilterError("rate-limited: too many values in the filters of this address")
        before = 0 if own is None else own.size
        if not self._kept.has_room(self._size - before + bytes_of(filters)):
            raise FilterError("rate-limited: the subscriptions of this address take too much memory")

    def _resize(self, size: int) -> None:
        """Its subscriptions take ``size`` bytes of memory from now on."""
        self._kept.resize(size)
        self._size = size

    def _close(self, part: msgspec.Raw) -> None:
        name = self._subscription_id(part)
        if name is not None:
            self._drop_subscription(name)

    def _drop_subscription(self, name: str) -> None:
        subscription = self.subscriptions.pop(name, None)
        if subscription is not None:
            self._resize(self._size - subscription.size)
            self._hub.unsubscribe(subscription)
            self._order.closed(subscription)
            if self._copies is not None:
                self._copies.subscription_closed()

    def _subscription_id(self, part: msgspec.Raw) -> str | None:
        try:
            name = msgspec.json.decode(part, type=str)
        except ValueError:
            return None
        return name if 1 <= len(name) <= self._hub.limits.subscription_id_chars else None

    # Answers

    def _ok(self, event_id: str | None, accepted: bool, text: str) -> None:
        if event_id is None:
            self._notice(text)
        else:
            self._send("OK", event_id, accepted, text)

    def _notice(self, text: str) -> None:
        self._send("NOTICE", text)

    def _send(self, *parts: str | bool) -> None:
        self.out.put(_quote(parts))


def _ok_frame(event_id: str) -> bytes:
    return b'["OK","%b",true,""]' % event_id.encode()
