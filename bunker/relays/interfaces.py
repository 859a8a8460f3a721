"""What relays and the worker promise each other: Protocols and small structs, no behaviour.

Inbound:   frame -> Intake (steps 1-6 of the order of checks) -> ``EventSink.receive`` (the worker, synchronously).
Outbound:  the worker -> ``ReplyPort.publish`` (built-in relay) and ``RelayPublisher.publish`` (outbound relays).

``ReplyPort`` has two implementations with one API: ``hub.RelayHub`` when web and worker share a process, and
``bridge.WorkerBridge`` when the built-in relay runs in other processes. Relays know nothing of keys or policy: which
public keys are ours, and how to sign a NIP-42 event for one of them, are hooks that the worker implements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event, UnsignedEvent

BUILT_IN = "built-in"
"""The ``relay`` argument of ``EventSink.receive`` for events that came through the built-in relay."""


class DropReason(StrEnum):
    """Why an event went no further. Counted by relay and reason; never logged with content."""

    TOO_LARGE = "too-large"
    UNASKED = "unasked"
    MALFORMED = "malformed"
    WRONG_KIND = "wrong-kind"
    WRONG_RECIPIENT = "wrong-recipient"
    NOT_SERVED = "not-served"
    STALE = "stale"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    OVER_BUDGET = "over-budget"
    BAD_ID = "bad-id"
    BAD_SIGNATURE = "bad-signature"
    RATE_LIMITED = "rate-limited"
    BUSY = "busy"
    NOT_READY = "not-ready"
    STRANGER = "stranger"


class EventSink(Protocol):
    """The worker's end: takes each accepted event once per process."""

    def receive(self, event: Event, raw: bytes, relay: str) -> DropReason | None:
        """Take an event that passed steps 1-6; must not block, await or raise.

        ``event`` was parsed strictly, is kind 24133 with exactly one ``p`` tag naming a key that ``ServedKeys``
        serves, is fresh, and its id and signature were verified: do not verify again. ``raw`` is its JSON as
        received. ``relay`` is ``BUILT_IN`` or the outbound relay's URL.

        Return None when the event was taken, and also when it is to be ignored in silence (a stranger learns
        nothing). Return ``DropReason.RATE_LIMITED`` or ``DropReason.BUSY`` when the sender may try the same event
        again: the event id is then not remembered, and a client of the built-in relay gets ``OK false``.
        """


class ServedKeys(Protocol):
    """Which remote-signer (transport) public keys are ours. In memory, no I/O: asked for every event."""

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        """Tell whether ``public_key`` (64 lower-case hex) is served, in tenant ``scope`` (UUID hex) if one is given."""

    def tenant_of(self, public_key: str) -> str | None:
        """The tenant (UUID hex) of a served key, None for any other."""

    def knows(self, client: str, signer: str) -> bool:
        """Tell whether ``client`` is paired with ``signer``; True where only a worker could tell."""

    def is_pairing(self, signer: str) -> bool:
        """Tell whether ``signer`` waits for a new client; True where only a worker could tell."""


class Nip42Signer(Protocol):
    """Signs NIP-42 events; implemented by the worker with its transport keys."""

    async def sign_auth(self, public_key: str, event: UnsignedEvent) -> Event | None:
        """Return ``event`` (kind 22242, author ``public_key``) signed, or None when that key is not open here."""


class PublishState(StrEnum):
    """What one relay did with one event."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(slots=True, eq=False)
class Publication:
    """One event on its way to several relays. Settled at the first OK true for its id, or when no relay is pending."""

    event_id: str
    expires_at: float
    """Unix time in seconds; after it no relay is tried again."""
    states: dict[str, PublishState] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """The relay's own words on a refusal, shortened; from outside, so never trusted."""
    settled: bool = False

    @property
    def is_accepted(self) -> bool:
        return PublishState.ACCEPTED in self.states.values()

    @property
    def is_pending(self) -> bool:
        return PublishState.PENDING in self.states.values()


Settled = Callable[[Publication], None]


class ReplyPort(Protocol):
    """The built-in relay as the worker sees it, whichever process it runs in."""

    def attach(self, sink: EventSink) -> None:
        """Hand accepted events to ``sink`` from now on; events that waited for a sink (bounded, 60 s) come first."""

    def detach(self, sink: EventSink) -> None:
        """Stop handing events to ``sink``; later ones wait, within the same bounds, for the next."""

    def publish(self, event: Event, raw: bytes) -> None:
        """Deliver a reply (``raw`` is its JSON) to the clients subscribed to it, and remember it for 60 s.

        Does not block and does not raise. The reply counts as published when this returns.
        """

    def forget(self, event_id: str) -> None:
        """Let an event id in again that was handed over but could not be claimed (database down)."""

    def refuse(self, event_id: str, reason: str) -> None:
        """Tell whoever sent an event why nobody can answer it (NIP-01's OK, false), after it was taken.

        Does not block and does not raise; without effect when that connection is gone.
        """


class RelayPublisher(Protocol):
    """The outbound relays as the worker sees them (pool.RelayPool)."""

    def attach(self, sink: EventSink) -> None:
        """Hand accepted events to ``sink``."""

    def set_wanted(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Serve exactly these relays (normalised URL -> transport public keys); the rest is closed.

        Cheap when nothing changed. Leave out the built-in relay's own URLs.
        """

    def publish(
        self,
        event: Event,
        raw: bytes,
        relays: Sequence[str],
        *,
        expires_at: float,
        on_settled: Settled | None = None,
    ) -> Publication:
        """Send to each of ``relays`` now or after it reconnects, until it says OK true or ``expires_at`` passes.

        ``on_settled`` is called once, from the event loop: see ``Publication.is_accepted``. Relays that are not
        wanted are left out; with none left the publication is settled, not accepted, before this returns.
        """

    def fits(self, size: int, relays: Sequence[str]) -> bool:
        """Tell whether a frame with an event of ``size`` bytes may pass at least one of ``relays``."""

    def health(self) -> list[RelayHealth]:
        """One row per wanted relay, best first: drives ``switch_relays`` and the operator's page."""

    async def run(self) -> None:
        """Serve until cancelled or ``stop``; returns only then."""

    async def stop(self) -> None:
        """Close every connection properly; bounded in time."""

    def forget(self, event_id: str) -> None:
        """As ``ReplyPort.forget``."""


class RelayStatus(StrEnum):
    """Where one outbound relay stands."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """One outbound relay, measured. ``score`` is 0.0 (useless) to 1.0 (healthy); times in milliseconds."""

    url: str
    status: RelayStatus
    score: float
    keys: int
    eose_ms: float | None
    ok_ms: float | None
    accepted: int
    refused: int
    failures: int
    """Connections lost or not established since the last time it was live for a while."""
    drops: Mapping[str, int]
    queued: int
