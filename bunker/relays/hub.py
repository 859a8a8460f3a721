"""The built-in relay of one process: who is connected, who is subscribed to what, and the way to the worker.

Runs on one event loop; every method is synchronous and must be called from it. It is the worker's ``ReplyPort`` when
the worker runs in the same process; otherwise bridge.WebBridge attaches as the sink.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

from django.conf import settings

from bunker.relays.backlog import Backlog
from bunker.relays.copies import AT_ONCE
from bunker.relays.event_checks import Intake, IntakeSource, sole_recipient
from bunker.relays.interfaces import BUILT_IN, DropReason, EventSink, ServedKeys
from bunker.relays.limits import BuiltInLimits
from bunker.relays.reply_cache import RecentEvent, request_of
from bunker.relays.reply_memory import ReplyMemory
from bunker.relays.session import FrameSink, RelaySession, Subscription
from bunker.relays.shared_bound import SharedBound
from bunker.relays.unserved import RetryQueue
from bunker.relays.work import WorkBounds
from keycast.base.token_bucket import BucketMap

if TYPE_CHECKING:
    from bunker.relays.filters import Filter
    from keycast.nostr.nip01 import Event

_Index = dict[str, set[Subscription]]
SENDERS = 8_000
"""Of how many of the last events it is known which connection brought them, to tell it what the worker found out.

As many as can wait in the worker's queue.
"""


class RelayHub:
    """Sessions, subscriptions by what they wait for, a short memory of replies, and a backlog for an absent worker."""

    def __init__(
        self,
        intake: Intake | None = None,
        limits: BuiltInLimits | None = None,
        clock: Callable[[], float] = monotonic,
        *,
        is_auth_required: bool = False,
    ) -> None:
        self.intake = intake or Intake()
        self.is_auth_required = is_auth_required
        self.limits = limits or BuiltInLimits.from_settings()
        self._clock = clock
        self._sink: EventSink | None = None
        limits = self.limits
        self._backlog = Backlog(limits.memory_seconds, limits.backlog_events, limits.backlog_bytes, clock)
        self.connections = 0
        self._addresses: Counter[str] = Counter()
        self._budgets = BucketMap(self.limits.verifications_per_ip, self.limits.verifications_per_ip, 10_000, clock)
        self.work = WorkBounds(limits, clock)
        self._values: Counter[str] = Counter()
        self.subscription_bytes = SharedBound(limits.subscription_bytes_per_ip, limits.subscription_bytes)
        self.incoming_bytes = SharedBound(limits.incoming_bytes_per_ip, limits.incoming_bytes)
        self.incoming_bytes_of_clients = SharedBound(limits.incoming_bytes // 2, limits.incoming_bytes)
        self.unread_bytes = SharedBound(limits.unread_bytes_per_ip, limits.unread_bytes)
        self._by_recipient: _Index = {}
        self._by_author: _Index = {}
        self._by_id: _Index = {}
        self._memory = ReplyMemory(limits.memory_seconds, limits.memory_events, limits.memory_bytes, clock)
        self._lazy: set[FrameSink] = set()
        self._senders: OrderedDict[str, tuple[RelaySession, Subscription | None]] = OrderedDict()
        self._sessions: dict[str, set[RelaySession]] = {}
        self._closed: set[str] = set()
        self._is_stopping = False
        self._patience = RetryQueue(self._offer, self._give_up, self.limits.backlog_events)

    # The worker's side (ReplyPort)

    @property
    def served(self) -> ServedKeys:
        """Which keys this relay carries events for; the worker sets it before it attaches."""
        return self.intake.served

    @served.setter
    def served(self, served: ServedKeys) -> None:
        self.intake.served = served

    def attach(self, sink: EventSink) -> None:
        """Hand accepted events to ``sink``, those that waited first."""
        self._sink = sink
        for _, event, raw, source in self._backlog.take():
            self.intake.hand_over(event, raw, source, sink)

    def detach(self, sink: EventSink) -> None:
        """Stop handing events to ``sink``."""
        if self._sink is sink:
            self._sink = None

    def publish(self, event: Event, raw: bytes) -> None:
        """Deliver and remember a reply."""
        recipient = sole_recipient(event)
        if recipient is None:
            return
        tenant = self.served.tenant_of(event.pubkey)
        if tenant is not None:
            self._memory.add(tenant, event, recipient, raw)
        self._note_answered(event, recipient)
        self._deliver(event, recipient, raw, None)

    def _note_answered(self, event: Event, recipient: str) -> None:
        """The connection whose request the worker answers is no stranger's, if it is a paired client's."""
        session, _ = self._senders.get(request_of(event), (None, None))
        if session is not None and not session.is_known and self.served.knows(recipient, event.pubkey):
            session.become_known(recipient)

    def forget(self, event_id: str) -> None:
        """Let an event in again that could not be claimed."""
        self.intake.forget(event_id)

    def refuse(self, event_id: str, reason: str) -> None:
        """Tell whoever sent an event that nobody can answer it."""
        session, _ = self._senders.pop(event_id, (None, None))
        if session is not None and not session.has_ended:
            session.refuse(event_id, reason)

    def stop(self) -> None:
        """This process ends: keep nothing any more for a worker that will not come, so that senders hear it."""
        self._is_stopping = True

    def flush(self) -> None:
        """Let every lazy frame go now."""
        self._flush()

    # The clients' side

    def open(self, scope: str, address: str, out: FrameSink, host: str = "") -> RelaySession | None:
        """Start a session for a connection from ``address`` to ``host`` (its Host header) in tenant ``scope``.

        None when there are too many, or while the tenant is closed.
        """
        if scope in self._closed or self.connections >= self.limits.connections:
            return None
        if self._addresses[address] >= self.limits.connections_per_ip:
            return None
        self.connections += 1
        self._addresses[address] += 1
        lane = IntakeSource(BUILT_IN, self._budgets.of(address), scope, takes_replies=True)
        session = RelaySession(self, scope, lane, out, self._clock, address, host)
        self._sessions.setdefault(scope, set()).add(session)
        return session

    def close(self, session: RelaySession, address: str) -> None:
        """End a session."""
        session.close()
        known = self._sessions.get(session.scope, set())
        known.discard(session)
        if not known:
            self._sessions.pop(session.scope, None)
        self._lazy.discard(session.out)
        self.connections -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    @property
    def closed(self) -> frozenset[str]:
        """The tenants that are closed here."""
        return frozenset(self._closed)

    def set_closed(self, scope: str, *, is_closed: bool) -> None:
        """Close tenant ``scope``, or open it again: closing ends its connections and refuses new ones."""
        if not is_closed:
            self._closed.discard(scope)
            return
        self._closed.add(scope)
        # A copy: a session that ends may take itself out of this set.
        for session in list(self._sessions.get(scope, ())):
            session.end()

    def open_all(self) -> None:
        """Open every tenant that was closed."""
        self._closed.clear()

    def accept(
        self, event: Event, raw: bytes, session: RelaySession, waiting: Subscription | None = None
    ) -> DropReason | None:
        """Take an admitted event: to the worker when it is for a served key, to subscribers in any case.

        ``waiting`` is the subscription of ``session`` that most likely waits for the reply.
        """
        recipient = sole_recipient(event) or ""
        is_request = self.served.serves(recipient, session.scope)
        # Then it comes from a served key, or the intake had refused it: a reply for a client, nothing for the worker.
        if not is_request:
            self.intake.remember(event.id)
            self._memory.add(session.scope, event, recipient, raw)
        elif self._sink is not None:
            self._remember_sender(event.id, session, waiting)
            refusal = self.intake.hand_over(event, raw, session.lane, self._sink)
            # A shard is changing hands. The client hears OK and would not send again, so it is kept for the next
            # owner.
            if refusal is DropReason.NOT_READY and self._patience.keep(event, raw):
                self.intake.remember(event.id)
            elif refusal is not None:
                return refusal
        elif not self._keep(event, raw, session.lane):
            return DropReason.NOT_READY
        if recipient in self._by_recipient or event.pubkey in self._by_author or event.id in self._by_id:
            self._deliver(event, recipient, raw, session.scope, is_request=is_request)
        return None

    def repeat(self, event: Event, raw: bytes, session: RelaySession, waiting: Subscription | None = None) -> None:
        """The same event once more: its answer once more, from memory, or from the worker, which stored it for a day.

        The claimed id is not verified where memory answers: whoever subscribes to a reply may read it anyway.
        """
        found = self._memory.reply_to(session.scope, event.id)
        if found is not None:
            if found.recipient == event.pubkey and self.served.serves(found.event.pubkey, session.scope):
                wanting = [item for item in session.subscriptions.values() if item.wants(found.event, found.recipient)]
                session.deliver_to(wanting, found.event, found.recipient, found.raw, waiting)
        elif self._sink is not None and self.intake.is_genuine(event, session.lane):
            self._remember_sender(event.id, session, waiting)
            self._sink.receive(event, raw, BUILT_IN)

    def stored(self, filters: list[Filter], session: RelaySession) -> Iterator[RecentEvent]:
        """Yield remembered replies that match, newest first, at most a bounded number and half a queue of bytes."""
        left, room = self.limits.stored_per_request, self.limits.queue_bytes // 2
        candidates = self.limits.candidates_per_request
        sent: set[str] = set()
        for wanted in filters:
            found, looked_at = self._memory.find(session.scope, wanted, candidates)
            candidates -= looked_at
            session.charge_candidates(looked_at)
            for item in found:
                # A signer that was moved or retired meanwhile.
                if item.event.id in sent or not self.served.serves(item.event.pubkey, session.scope):
                    continue
                # Not those that are asked for by id: whoever does that has lost them.
                if wanted.ids is None and session.has_had(item.event.id):
                    continue
                room -= len(item.raw)
                if len(sent) >= left or room < 0:
                    return
                sent.add(item.event.id)
                yield item

    def values_of(self, address: str) -> int:
        """How many values the open subscriptions of all connections from ``address`` name."""
        return self._values[address]

    def subscribe(self, subscription: Subscription) -> None:
        """Let live events reach ``subscription``."""
        self._values[subscription.session.address] += subscription.value_count
        for index, key in self._places(subscription):
            index.setdefault(key, set()).add(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more events for ``subscription``."""
        address = subscription.session.address
        self._values[address] -= subscription.value_count
        if not self._values[address]:
            del self._values[address]
        for index, key in self._places(subscription):
            waiting = index.get(key)
            if waiting is not None:
                waiting.discard(subscription)
                if not waiting:
                    del index[key]
        # It may be known for a while as the one that waited for a request's answer: let go of what is large.
        subscription.filters = []

    def flush_soon(self, out: FrameSink) -> None:
        """Let the lazy frames of ``out`` go after the reply window, unless a reply takes them along before."""
        if not self._lazy:
            asyncio.get_running_loop().call_later(self.limits.reply_window, self._flush)
        self._lazy.add(out)

    # Inside

    def _offer(self, event: Event, raw: bytes) -> DropReason | None:
        return DropReason.NOT_READY if self._sink is None else self._sink.receive(event, raw, BUILT_IN)

    def _give_up(self, event: Event) -> None:
        self.intake.forget(event.id)

    def _flush(self) -> None:
        waiting, self._lazy = self._lazy, set()
        for out in waiting:
            out.flush()

    def _remember_sender(self, event_id: str, session: RelaySession, waiting: Subscription | None) -> None:
        self._senders[event_id] = session, waiting
        if len(self._senders) > SENDERS:
            self._senders.popitem(last=False)

    def _keep(self, event: Event, raw: bytes, lane: IntakeSource) -> bool:
        """Keep an event for a worker that is starting or moving; False when no more can be kept."""
        if self._is_stopping or not self._backlog.keep(event, raw, lane):
            return False
        self.intake.remember(event.id)
        return True

    def _places(self, subscription: Subscription) -> Iterator[tuple[_Index, str]]:
        """Where a subscription is listed: under the narrowest condition of each of its filters."""
        for wanted in subscription.filters:
            if wanted.recipients is not None:
                yield from ((self._by_recipient, key) for key in wanted.recipients)
            elif wanted.authors is not None:
                yield from ((self._by_author, key) for key in wanted.authors)
            else:
                yield from ((self._by_id, key) for key in wanted.ids or ())

    def _deliver(
        self, event: Event, recipient: str, raw: bytes, scope: str | None, *, is_request: bool = False
    ) -> None:
        """Send to every matching subscription, in tenant ``scope`` or, for None, where the author is served.

        A request is seen by those alone who proved to hold its author's or its recipient's key (NIP-42): whoever knows
        a signer's public key could otherwise watch who asks it, and when. Of replies ``confine`` has seen to that.
        """
        serves = self.served.serves
        waiting = self._waiting_for(event, recipient)
        many: dict[RelaySession, list[Subscription]] | None = None if len(waiting) <= AT_ONCE else {}
        for subscription in waiting:
            session = subscription.session
            allowed = serves(event.pubkey, session.scope) if scope is None else scope == session.scope
            if not allowed or not subscription.wants(event, recipient):
                continue
            if is_request and session.keys.proved.isdisjoint((event.pubkey, recipient)):
                continue
            if many is None:
                session.deliver(subscription, event.id, raw)
            else:
                many.setdefault(session, []).append(subscription)
        if many:
            sender, first = self._senders.get(request_of(event), (None, None))
            for session, wanting in many.items():
                session.deliver_to(wanting, event, recipient, raw, first if session is sender else None)

    def _waiting_for(self, event: Event, recipient: str) -> set[Subscription]:
        by_recipient = self._by_recipient.get(recipient)
        by_author = self._by_author.get(event.pubkey)
        by_id = self._by_id.get(event.id)
        # By far the most frequent case, without building a set for each event.
        if by_recipient and not by_author and not by_id:
            return by_recipient
        return (by_recipient or set()) | (by_author or set()) | (by_id or set())


_hub: RelayHub | None = None


def get_hub() -> RelayHub:
    """Return this process's hub, made on first use from settings."""
    global _hub  # noqa: PLW0603
    if _hub is None:
        _hub = RelayHub(is_auth_required=settings.RELAY_AUTH == "required")
    return _hub


def set_hub(hub: RelayHub | None) -> None:
    """Replace this process's hub: for tests, and for a worker that shares its intake with outbound relays."""
    global _hub  # noqa: PLW0603
    _hub = hub
