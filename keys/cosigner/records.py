"""Keys and halves as the co-signer's database holds them. Functions run inside its writing thread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from uuid import UUID

from keycast.crypto.musig import KeyAggregate
from keys.cosigner.store import CosignerRefusalError, StoreTransaction
from keys.refs import SealedSecret, SecretPurpose
from keys.signing.cosigning.messages import RefusalCode
from keys.signing.envelope import SealingContext

KEK_PROVIDER: Final = "cosigner"
PENDING, ACTIVE, LOCKED, DISABLED = "pending", "active", "locked", "disabled"
FORGETTING, FORGOTTEN = "forgetting", "forgotten"
CURRENT, PREPARED, READY = "current", "prepared", "ready"


@dataclass(frozen=True)
class CosignerHalf:
    """One half B beside the half A that it belongs to (both x-only, 32 bytes)."""

    key_id: UUID
    tenant_id: UUID
    half_a: bytes
    half_b: bytes
    status: str
    tweak: bytes | None
    sealed: SealedSecret

    @cached_property
    def place(self) -> SealingContext:
        return sealing_context_of(self.tenant_id, self.key_id, self.half_b)

    @cached_property
    def aggregate(self) -> KeyAggregate:
        return KeyAggregate(b"\x02" + self.half_a, b"\x02" + self.half_b, self.tweak)


@dataclass(frozen=True)
class CosignerKeyRecord:
    """One key with its halves, by half A. Replaced, never changed."""

    key_id: UUID
    tenant_id: UUID
    public_key: bytes
    state: str
    authoriser: bytes | None
    halves: dict[bytes, CosignerHalf]
    coming_authoriser: bytes | None = None

    @cached_property
    def authorisers(self) -> tuple[bytes, ...]:
        """Whose authorisations hold: two, while one takes the other's place."""
        return tuple(found for found in (self.authoriser, self.coming_authoriser) if found is not None)

    @property
    def current(self) -> CosignerHalf:
        return next(half for half in self.halves.values() if half.status == CURRENT)

    @property
    def coming(self) -> CosignerHalf | None:
        return next((half for half in self.halves.values() if half.status != CURRENT), None)

    def usable(self, half_a: bytes) -> CosignerHalf:
        """The halves that a request names. Raises Refusal when they are not, or no longer, in use."""
        half = self.halves.get(half_a)
        if half is None or half.status == PREPARED:
            raise CosignerRefusalError(RefusalCode.STALE_HALF)
        return half


def sealing_context_of(tenant_id: UUID, key_id: UUID, half_b: bytes) -> SealingContext:
    """Where a half belongs; its row is named by its public key, so that old and new halves never share a place."""
    return SealingContext(tenant_id, UUID(bytes=half_b[:16]), half_b.hex(), SecretPurpose.COSIGNER_HALF, key_id)


def load(writing: StoreTransaction, key_id: UUID) -> CosignerKeyRecord | None:
    """The key as it is now."""
    row = writing.execute(
        "SELECT tenant_id, public_key, state, authoriser, coming_authoriser FROM cosigner_key WHERE key_id = ?",
        (key_id.bytes,),
    ).fetchone()
    if row is None:
        return None
    tenant, public_key, state, authoriser, coming_authoriser = row
    tenant_id = UUID(bytes=tenant)
    halves = {
        half_a: CosignerHalf(
            key_id, tenant_id, half_a, half_b, status, tweak, SealedSecret(KEK_PROVIDER, version, sealed)
        )
        for half_a, half_b, status, tweak, version, sealed in writing.execute(
            "SELECT half_a, half_b, status, tweak, kek_version, sealed FROM cosigner_half WHERE key_id = ?",
            (key_id.bytes,),
        )
    }
    return CosignerKeyRecord(key_id, tenant_id, public_key, state, authoriser, halves, coming_authoriser)


def add_key(writing: StoreTransaction, half: CosignerHalf, public_key: bytes, now: int) -> None:
    """A new key with its first half; IntegrityError when id or public key is known."""
    writing.execute(
        "INSERT INTO cosigner_key VALUES (?, ?, ?, 'pending', NULL, NULL, ?, NULL, NULL)",
        (half.key_id.bytes, half.tenant_id.bytes, public_key, now),
    )
    add_half(writing, half)


def replace_unused(writing: StoreTransaction, half: CosignerHalf) -> None:
    """A key that never came into use, is disabled, or was given up, with another first half and no authoriser."""
    writing.execute("DELETE FROM cosigner_half WHERE key_id = ?", (half.key_id.bytes,))
    writing.erases = True
    writing.execute(
        "UPDATE cosigner_key SET state = 'pending', authoriser = NULL, coming_authoriser = NULL, forget_at = NULL "
        "WHERE key_id = ? AND state IN ('pending', 'disabled', 'forgetting', 'forgotten')",
        (half.key_id.bytes,),
    )
    add_half(writing, half)


def add_half(writing: StoreTransaction, half: CosignerHalf) -> None:
    """One more half of a key."""
    writing.execute(
        "INSERT INTO cosigner_half VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            half.key_id.bytes,
            half.half_a,
            half.half_b,
            half.status,
            half.tweak,
            half.sealed.kek_version,
            half.sealed.blob,
        ),
    )


def drop_prepared(writing: StoreTransaction, key_id: UUID) -> None:
    """Destroy a half that was never put into use."""
    writing.execute("DELETE FROM cosigner_half WHERE key_id = ? AND status = 'prepared'", (key_id.bytes,))
    writing.erases = True


def make_ready(writing: StoreTransaction, key_id: UUID, half_a: bytes, tweak: bytes, now: int) -> None:
    """From now on the new half signs beside the old one. Raises Refusal."""
    changed = writing.execute(
        "UPDATE cosigner_half SET status = 'ready', tweak = ?, ready_at = ? "
        "WHERE key_id = ? AND half_a = ? AND status = 'prepared'",
        (tweak, now, key_id.bytes, half_a),
    ).rowcount
    if changed != 1:
        raise CosignerRefusalError(RefusalCode.STALE_HALF)


def make_current(writing: StoreTransaction, key_id: UUID, half_a: bytes) -> None:
    """Destroy the old half; the new one is the only one. Raises Refusal."""
    # In this order because of the index that allows one current half; what fails below undoes this, too.
    writing.execute("DELETE FROM cosigner_half WHERE key_id = ? AND status = 'current'", (key_id.bytes,))
    writing.erases = True
    changed = writing.execute(
        "UPDATE cosigner_half SET status = 'current', ready_at = NULL "
        "WHERE key_id = ? AND half_a = ? AND status = 'ready'",
        (key_id.bytes, half_a),
    ).rowcount
    if changed != 1:
        raise CosignerRefusalError(RefusalCode.STALE_HALF)


def set_authoriser(writing: StoreTransaction, key_id: UUID, authoriser: bytes) -> None:
    """Register the HSM's key; only for a key that has none."""
    writing.execute(
        # A key that was stopped before it came into use stays stopped.
        "UPDATE cosigner_key SET authoriser = ?, state = CASE state WHEN 'pending' THEN 'active' ELSE state END "
        "WHERE key_id = ? AND authoriser IS NULL",
        (authoriser, key_id.bytes),
    )


def add_authoriser(writing: StoreTransaction, key_id: UUID, authoriser: bytes) -> None:
    """Accept another HSM key too. Raises Refusal when it is some key's already, or the key has two."""
    # The two columns are unique each for itself; that no key's coming one is another's present one, no index can say.
    taken = writing.execute("SELECT 1 FROM cosigner_key WHERE authoriser = ?", (authoriser,)).fetchone()
    changed = writing.execute(
        "UPDATE cosigner_key SET coming_authoriser = ? WHERE key_id = ? AND coming_authoriser IS NULL",
        (authoriser, key_id.bytes),
    ).rowcount
    if taken or changed != 1:
        raise CosignerRefusalError(RefusalCode.KEY_EXISTS)


def settle_authoriser(writing: StoreTransaction, key_id: UUID, authoriser: bytes) -> None:
    """This HSM key alone, of the two."""
    writing.execute(
        "UPDATE cosigner_key SET authoriser = ?, coming_authoriser = NULL WHERE key_id = ?",
        (authoriser, key_id.bytes),
    )


def set_state(writing: StoreTransaction, key_id: UUID, state: str) -> None:
    """Stop or enable a key."""
    writing.execute(
        "UPDATE cosigner_key SET state = ? WHERE key_id = ? AND state <> 'forgotten'", (state, key_id.bytes)
    )


def begin_to_forget(writing: StoreTransaction, key_id: UUID, now: int, due: int) -> None:
    """Out of use at once, to be destroyed at ``due`` (Unix time in ms, as ``now``)."""
    writing.execute(
        "UPDATE cosigner_key SET state = 'forgetting', forget_asked_at = ?, forget_at = ? "
        "WHERE key_id = ? AND state NOT IN ('pending', 'forgetting', 'forgotten')",
        (now, due, key_id.bytes),
    )


def keep(writing: StoreTransaction, key_id: UUID) -> None:
    """Do not destroy it after all; that it was asked for stays, so that it counts among those of the hour."""
    writing.execute(
        "UPDATE cosigner_key SET state = 'disabled', forget_at = NULL WHERE key_id = ? AND state = 'forgetting'",
        (key_id.bytes,),
    )


def forgets_since(writing: StoreTransaction, then: int) -> int:
    """How many keys were to be forgotten since that time."""
    row = writing.execute("SELECT count(*) FROM cosigner_key WHERE forget_asked_at > ?", (then,)).fetchone()
    return int(row[0])


def due_to_forget(writing: StoreTransaction, now: int) -> list[UUID]:
    """Keys whose time has come."""
    due = "SELECT key_id FROM cosigner_key WHERE state = 'forgetting' AND forget_at <= ?"
    return [UUID(bytes=row[0]) for row in writing.execute(due, (now,))]


def due_to_finish(writing: StoreTransaction, before: int) -> list[tuple[UUID, bytes]]:
    """Keys whose new half was ready before that time, with its half A, and whose old half still signs."""
    due = "SELECT key_id, half_a FROM cosigner_half WHERE status = 'ready' AND ready_at <= ?"
    return [(UUID(bytes=row[0]), row[1]) for row in writing.execute(due, (before,))]


def forget(writing: StoreTransaction, key_id: UUID) -> None:
    """Destroy every half; the row stays, so that the id is never used again."""
    writing.execute("DELETE FROM cosigner_half WHERE key_id = ?", (key_id.bytes,))
    writing.erases = True
    set_state(writing, key_id, FORGOTTEN)
