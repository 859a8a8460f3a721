"""What a worker keeps in memory of a signer and of each client connected to it. Slots only: there may be thousands."""

from __future__ import annotations

from uuid import UUID

from bunker.policy import CompiledPolicy
from keycast.audit.entries import Actor
from keycast.base.token_bucket import TokenBucket
from keys.refs import KeyRef, TransportRef

REFUSALS_PER_SECOND = 2.0
REFUSALS_AT_ONCE = 100.0
CONNECTS_PER_SECOND = 0.5
CONNECTS_AT_ONCE = 10.0


class TenantRecord:
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
        self.max_signatures = max_signatures
        self.max_relays = max_relays
        self.id = tenant_id
        self.chain = chain
        self.refusal = refusal


class ConnectionRecord:
    """One client's grant. ``refusal`` says why it is over or locked, and is None while it is active.

    ``secret_hash`` is of the secret that it began with, by which its client may repeat ``connect``.

    ``uses`` counts key uses, those in flight included. ``key_limit``: total uses are bounded, so each is written
    with its claim. ``bucket`` bounds requests, ``refusals`` rows and replies for refused ones, ``connects`` pairing.
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
        "minute",
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
    ) -> None:
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
        self.minute: TokenBucket | None = None
        if policy is not None and policy.limits.per_minute is not None:
            self.minute = TokenBucket(policy.limits.per_minute / 60, policy.limits.per_minute)
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
        if self.minute is not None and before.minute is not None and before.minute.burst == self.minute.burst:
            self.minute = before.minute


class SignerRecord:
    """One remote signer: its transport key, the user key it speaks for, and its clients by public key (threats C18).

    ``refusal`` says why the user key may not be used now. ``pairing_until`` is when the last unused secret expires
    (0 without one), ``pairing_closed_until`` when guessing is forgiven; Unix seconds.
    """

    __slots__ = (
        "clients",
        "key",
        "key_hex",
        "pairing_closed_until",
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
        self.pairing_closed_until = 0.0
        self.pairing_relays: frozenset[str] = frozenset()
        self.clients: dict[str, ConnectionRecord] = {}
        self.strangers: TokenBucket | None = None

    def is_pairing(self, now: float) -> bool:
        """True while a ``connect`` with the right secret could succeed."""
        return self.pairing_until > now >= self.pairing_closed_until


def standing(signer: SignerRecord, connection: ConnectionRecord, now: float) -> str | None:
    """Why this connection may not use this signer at ``now`` (Unix seconds), as a sentence; None when it may."""
    if connection.refusal is not None:
        return connection.refusal
    if connection.expires_at is not None and now >= connection.expires_at:
        return "This app's access has expired."
    return signer.tenant.refusal or signer.refusal
