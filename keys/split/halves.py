"""Signer A's side of making, stopping and ending split keys, on PersonalKey rows. Blocks: for services and jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keycast.base import crash
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.secret import SecretBytes
from keys.errors import KeyDamaged
from keys.lifecycle.rows import hsm_ref
from keys.models import KeyState, PersonalKey
from keys.signing import factory
from keys.signing.cosigning import granting
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import CosignerMisbehaved
from keys.signing.half import SealedHalf
from keys.signing.protocol import Authoriser, KeyMaker

_COSIGNER_STATES: Final[dict[str, str]] = {
    KeyState.ACTIVE: "active",
    KeyState.LOCKED: "locked",
    KeyState.DISABLED: "disabled",
    KeyState.DESTRUCTION_SCHEDULED: "disabled",
}


def create(row: PersonalKey, client: CosignerClient | None = None) -> None:
    """Give an unsaved row a fresh key: both sides draw a half, and nobody ever has the whole.

    Sets public_key, encrypted_half_key, kek_version and cosigner_public_key; the state stays the caller's. Signing
    begins with ``register``. Raises KekUnavailable, CosignerUnavailable, KeyExists.
    """
    half = maker_for(client).draw_half(tenant_id=row.tenant_id, key_id=row.id)
    half_b = blocking(lambda b: b.create(row.tenant_id, row.id, half.public), client)
    crash.point("a-created")
    _complete(row, half, half_b, None)


def adopt(row: PersonalKey, secret: SecretBytes, client: CosignerClient | None = None) -> None:
    """Split an imported key and give the row half A, the co-signer half B; ``secret`` stays the caller's to wipe.

    Raises as ``create``, and SecretRefused.
    """
    maker = maker_for(client)
    made = maker.split_secret(secret, tenant_id=row.tenant_id, key_id=row.id)
    public_key = maker.public_key_of(secret)
    maker.hand_over(made, tenant_id=row.tenant_id, key_id=row.id, public_key=public_key)
    crash.point("a-adopted")
    _complete(row, SealedHalf(made.half_a, made.sealed_a), b"\x02" + made.half_b, made.tweak)
    # The two halves have to make the imported key; a co-signer that answers with another half would make another.
    if row.public_key != public_key:
        raise CosignerMisbehaved


def maker_for(client: CosignerClient | None) -> KeyMaker:
    """Who seals and opens halves: the deployment's maker, or one that talks to this co-signer."""
    return factory.key_maker() if client is None else factory.own_key_maker(client)


def register(row: PersonalKey, client: CosignerClient | None = None) -> None:
    """Tell the co-signer whose authorisations hold for this key: ``authoriser_public_key``. Once; repeatable."""
    try:
        authoriser = bytes.fromhex(row.authoriser_public_key)
    except ValueError:
        raise KeyDamaged from None
    blocking(lambda b: b.register_authoriser(row.tenant_id, row.id, authoriser), client)


def sync_state(row: PersonalKey, authoriser: Callable[[], Authoriser], client: CosignerClient | None = None) -> bool:
    """Bring the co-signer's state of a key in line with the row's; whether that took a change. Repeatable.

    Stopping is free; serving again costs an HSM operation. A pending or destroyed key is its job's business.
    """
    wanted = _COSIGNER_STATES.get(row.state)
    return wanted is not None and blocking(lambda b: _set_state(row, wanted, authoriser, b), client)


async def _set_state(
    row: PersonalKey, wanted: str, authoriser: Callable[[], Authoriser], client: CosignerClient
) -> bool:
    if await client.state(row.tenant_id, row.id) == wanted:
        return False
    if wanted == "locked":
        await client.lock(row.tenant_id, row.id)
    elif wanted == "disabled":
        await client.disable(row.tenant_id, row.id)
    else:
        grant = await granted(row, authoriser(), AuthorisationPurpose.ENABLE, bytes.fromhex(row.public_key or ""))
        await client.enable(row.tenant_id, row.id, grant)
    return True


async def granted(
    row: PersonalKey, authoriser: Authoriser, purpose: AuthorisationPurpose, subject: bytes
) -> UseAuthorisation:
    """A fresh authorisation by the row's HSM key."""
    return await granting.granted(authoriser, hsm_ref(row), row.tenant_id, row.id, purpose, subject)


def _complete(row: PersonalKey, half: SealedHalf, half_b: bytes, tweak: bytes | None) -> None:
    try:
        aggregate = KeyAggregate(b"\x02" + half.public, half_b, tweak)
    except CryptoError:
        raise CosignerMisbehaved from None
    row.encrypted_half_key, row.kek_version = half.pack(), half.sealed.kek_version
    row.public_key = aggregate.public_key.hex()
    row.cosigner_public_key, row.key_tweak = half_b[1:].hex(), (tweak or b"").hex()
