"""What a worker keeps in memory of a signer and of each client connected to it. Slots only: there may be thousands."""

from __future__ import annotations

from uuid import UUID

from bunker.policy import CompiledPolicy
from keycast.audit.entries import Actor
from keycast.base.sliding_window import SlidingWindow
from keycast.base.token_bucket import TokenBucket
from keys.refs import KeyRef, TransportRef

SECONDS_A_DAY = 86_400
REFUSALS_PER_SECOND = 2.0
REFUSALS_AT_ONCE = 100.0
CONNECTS_PER_SECOND = 0.5
CONNECTS_AT_ONCE = 10.0


class RequestsOfDay:
    """Counts requests of a day, in memory: ``day`` and ``day_count`` are the record's own.

    Each worker counts for the signers that it serves, and goes on where the last one ended (requests_of_day). A tenant
    whose signers are served by several workers has the bound with each: it is against a log that grows for ever, not a
    price.
    """

    __slots__ = ("day", "day_count")

    def __init__(self) -> None:
        self.day = 0
        self.day_count = 0

    def take_of_day(self, day: int, most: int) -> bool:
        """Count a request of ``day`` (days since 1970-01-01 UTC); False beyond ``most``."""
        if day != self.day:
            self.day, self.day_count = day, 0
        if self.day_count >= most:
            return False
        self.day_count += 1
        return True

    def asked_on(self, day: int) -> int:
        """How many were counted of ``day``."""
        return self.day_count if day == self.day else 0

    def have_asked(self, day: int, count: int) -> int:
        """Have counted ``count`` of ``day`` at least; returns how many were missed until now."""
        known = self.asked_on(day)
        self.day, self.day_count = day, max(known, count)
        return self.day_count - known


class TenantRecord(RequestsOfDay):
    """A tenant as far as signing cares. Shared by its signers, so that locking it is one assignment.

    ``max_signatures`` a day and ``max_relays`` of its own are None where there is no bound.
    """

    __slots__ = ("chain", "id", "max_relays", "max_signatures", "refusal")

    def __init__(
        self,
        tenant_id: UUID,
        chain: str,
        refusal: str | None,
        max_signatures: int | None = None,
        max_relays: int | None = None,
    ) -> None:
        super().__init__()
        self.max_signatures = max_signatures
        self.max_relays = max_relays
        self.id = tenant_id
        self.chain = chain
        self.refusal = refusal


class ConnectionRecord(RequestsOfDay):
    """One client's grant. ``refusal`` says why it is over or locked, and is None while it is active.

    ``secret_hash`` is of the secret that it began with, by which its client may repeat ``connect``.

    ``uses`` counts key uses, those in flight included. ``is_counted``: total uses are bounded, so each is written with
    its claim. ``noted_on`` is the day on which the log last heard that it asked for the public key. ``bucket`` bounds
    requests, ``refusals`` rows and replies for refused ones, ``connects`` pairing, ``day_count`` requests of ``day``.
    """

    __slots__ = (
        "actor",
        "bucket",
        "client",
        "connects",
        "expires_at",
        "hex",
        "id",
        "is_counted",
        "is_machine",
        "minute",
        "noted_on",
        "policy",
        "refusal",
        "refusals",
        "relays",
        "secret_hash",
        "suppressed",
        "uses",
    )

    def __init__(
        self,
        connection_id: UUID,
        client: str,
        name: str,
        *,
        refusal: str | None,
        expires_at: float | None,
        policy: CompiledPolicy | None,
        relays: tuple[str, ...],
        uses: int,
        secret_hash: bytes | None = None,
        is_machine: bool = False,
    ) -> None:
        super().__init__()
        self.is_machine = is_machine
        self.noted_on = 0
        self.secret_hash = secret_hash
        self.id = connection_id
        self.hex = connection_id.hex
        self.client = client
        self.actor = Actor.client(client, name)
        self.refusal = refusal
        self.expires_at = expires_at
        self.policy = policy
        self.relays = relays
        self.uses = uses
        self.is_counted = policy is not None and policy.limits.total_uses is not None
        self.minute: SlidingWindow | None = None
        if policy is not None and policy.limits.per_minute is not None:
            self.minute = SlidingWindow(policy.limits.per_minute, 60.0)
        self.bucket: TokenBucket | None = None
        self.refusals: TokenBucket | None = None
        self.connects: TokenBucket | None = None
        self.suppressed = 0

    def may_be_refused(self, now: float) -> bool:
        """Take one from the bound on refusals that are written down and answered; ``now`` is monotonic."""
        if self.refusals is None:
            self.refusals = TokenBucket(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE)
        if self.refusals.take(now=now):
            return True
        self.suppressed += 1
        return False

    def may_connect(self, now: float) -> bool:
        """Take one from the bound on repeated ``connect``, which costs a transaction; ``now`` is monotonic."""
        if self.connects is None:
            self.connects = TokenBucket(CONNECTS_PER_SECOND, CONNECTS_AT_ONCE)
        return self.connects.take(now=now)

    def inherit(self, before: ConnectionRecord) -> None:
        """Take over what only memory knows when the row was read again."""
        self.uses = max(self.uses, before.uses)
        self.bucket, self.refusals, self.connects = before.bucket, before.refusals, before.connects
        self.suppressed = before.suppressed
        self.day, self.day_count, self.noted_on = before.day, before.day_count, before.noted_on
        if self.is_machine != before.is_machine:
            self.bucket = None
        if self.minute is not None and before.minute is not None:
            self.minute.inherit(before.minute)


class SignerRecord:
    """One remote signer: its transport key, the user key it speaks for, and its clients by public key (threats C18).

    ``refusal`` says why the user key may not be used now. ``pairing_until`` is when the last unused secret expires
    (0 without one), in Unix seconds.
    """

    __slots__ = (
        "clients",
        "key",
        "key_hex",
        "pairing_relays",
        "pairing_until",
        "public_key",
        "refusal",
        "shard",
        "strangers",
        "tenant",
        "transport",
        "transport_hex",
        "user_id",
    )

    def __init__(
        self, tenant: TenantRecord, transport: TransportRef, key: KeyRef, shard: int, user_id: UUID, refusal: str | None
    ) -> None:
        self.tenant = tenant
        self.transport = transport
        self.transport_hex = transport.transport_id.hex
        self.public_key = transport.public_key
        self.key = key
        self.key_hex = key.key_id.hex
        self.shard = shard
        self.user_id = user_id
        self.refusal = refusal
        self.pairing_until = 0.0
        self.pairing_relays: frozenset[str] = frozenset()
        self.clients: dict[str, ConnectionRecord] = {}
        self.strangers: TokenBucket | None = None

    def is_pairing(self, now: float) -> bool:
        """True while a ``connect`` with the right secret could succeed."""
        return self.pairing_until > now


def standing(signer: SignerRecord, connection: ConnectionRecord, now: float) -> str | None:
    """Why this connection may not use this signer at ``now`` (Unix seconds), as a sentence; None when it may."""
    if connection.refusal is not None:
        return connection.refusal
    if connection.expires_at is not None and now >= connection.expires_at:
        return "This app's access has expired."
    return signer.tenant.refusal or signer.refusal
