"""Signer A's side of making, stopping and ending split keys, on PersonalKey rows. Blocks: for services and jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final
from uuid import UUID

from keycast.base import crash
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.secret import SecretBytes
from keys.errors import InvalidOperand, KeyDamaged, KeyUnavailable, NoCapability, SealedHalfRefused
from keys.hsm import providers, registration
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured
from keys.lifecycle.rows import hsm_ref
from keys.models import KeyState, PersonalKey
from keys.refs import HsmRef
from keys.signing import factory
from keys.signing.cosigning import granting
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import CosignerMisbehaved, CosignerRefused, StaleHalf
from keys.signing.cosigning.messages import NO_PROOF, HsmProof
from keys.signing.half import SealedHalf
from keys.signing.protocol import Authoriser, KeyMaker
from keys.signing.sealed_halves import PageKey, SealedHalves

logger = logging.getLogger(__name__)
_ENDING: Final = frozenset({"pending", "forgetting", "forgotten"})
_COSIGNER_STATES: Final[dict[str, str]] = {
    KeyState.ACTIVE: "active",
    KeyState.LOCKED: "locked",
    KeyState.DISABLED: "disabled",
    KeyState.DESTRUCTION_SCHEDULED: "forgetting",
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


def adopt_sealed(row: PersonalKey, halves: SealedHalves, client: CosignerClient | None = None) -> None:
    """Give the row half A, and the co-signer half B, of a key that its owner's browser split. ``row`` has its id.

    Nothing here ever has the whole key. Raises as ``create``, and SealedHalfRefused.
    """
    said = halves.said
    if (row.tenant_id, row.id) != (said.tenant_id, said.key_id):
        raise SealedHalfRefused
    half = maker_for(client).take_half(halves)
    try:
        half_b = blocking(lambda b: b.adopt_sealed_half(said, halves.sealed_b), client)
    except (InvalidOperand, CosignerRefused):
        raise SealedHalfRefused from None
    crash.point("a-adopted")
    _complete(row, half, half_b, said.tweak)
    if row.public_key != said.public_key.hex():
        raise CosignerMisbehaved


def page_keys(tenant_id: UUID, key_id: UUID, client: CosignerClient | None = None) -> tuple[PageKey, bytes]:
    """What a browser seals the halves of this key to: the page's key of signer A, and the co-signer's (65 bytes).

    Raises KekUnavailable, CosignerUnavailable.
    """
    cosigner = blocking(lambda b: b.encryption_key(tenant_id, key_id), client)
    return maker_for(client).draw_page_key(tenant_id=tenant_id, key_id=key_id), cosigner


def maker_for(client: CosignerClient | None) -> KeyMaker:
    """Who seals and opens halves: the deployment's maker, or one that talks to this co-signer."""
    return factory.key_maker() if client is None else factory.own_key_maker(client)


def register(row: PersonalKey, client: CosignerClient | None = None, proof: HsmProof = NO_PROOF) -> None:
    """Tell the co-signer whose authorisations hold for this key: ``authoriser_public_key``. Once; repeatable."""
    try:
        authoriser = bytes.fromhex(row.authoriser_public_key)
    except ValueError:
        raise KeyDamaged from None
    blocking(lambda b: b.register_authoriser(row.tenant_id, row.id, authoriser, proof), client)


def sync_state(row: PersonalKey, authoriser: Callable[[], Authoriser], client: CosignerClient | None = None) -> bool:
    """Bring the co-signer's state of a key in line with the row's; whether that took a change. Repeatable.

    Stopping is free; serving again, and ending, cost an HSM operation: HsmKeyUnusable when its key cannot sign. A
    pending or destroyed key is its job's business.
    """
    wanted = _COSIGNER_STATES.get(row.state)
    return wanted is not None and blocking(lambda b: _set_state(row, wanted, authoriser, b), client)


async def _set_state(
    row: PersonalKey, wanted: str, authoriser: Callable[[], Authoriser], client: CosignerClient
) -> bool:
    state = await client.state(row.tenant_id, row.id)
    if state == wanted or (state == "forgotten" and wanted == "forgetting"):
        return False
    if state == "forgetting":
        await client.keep(row.tenant_id, row.id)
    public_key = bytes.fromhex(row.public_key or "")
    if wanted == "forgetting":
        # Stopped first, which needs no grant: the end may be refused for now.
        await client.disable(row.tenant_id, row.id)
        grant = await granted(client, row, authoriser(), AuthorisationPurpose.FORGET, public_key)
        await client.forget(row.tenant_id, row.id, public_key, grant)
    elif wanted == "locked":
        await client.lock(row.tenant_id, row.id)
    elif wanted == "disabled":
        await client.disable(row.tenant_id, row.id)
    else:
        grant = await granted(client, row, authoriser(), AuthorisationPurpose.ENABLE, public_key)
        await client.enable(row.tenant_id, row.id, grant)
    return True


def end(row: PersonalKey, client: CosignerClient | None = None) -> None:
    """Have the co-signer end what it has of a key that failed or was destroyed. Repeatable; see ``end_half``."""
    if row.cosigner_public_key:
        named = bytes.fromhex(row.public_key or row.cosigner_public_key)
        end_half(row, row.hsm_provider, row.kms_key_name, named, client, half_b=bytes.fromhex(row.cosigner_public_key))


def end_half(
    key: PersonalKey,
    provider: str,
    hsm_key: str,
    named: bytes,
    client: CosignerClient | None = None,
    *,
    half_b: bytes,
    may_stay: bool = False,
) -> None:
    """Have the co-signer end a half: at once if it was never in use, else by the HSM key's grant and after its delay.

    ``named`` is what the grant names. To be called before the HSM key's versions are destroyed; a disabled one is
    enabled for it. Where none is left nobody can grant it, and the half stays with the co-signer, disabled: an error in
    the log says so. It may also stay where the HSM refuses (``may_stay``), if the half was never of use. Raises
    CosignerUnavailable, TooManyForgets, what the HSM raises.
    """
    ids = key.tenant_id, key.id
    try:
        state = blocking(lambda b: b.state(*ids), client)
    except KeyUnavailable:
        return  # it never heard of the key
    if state == "pending":
        blocking(lambda b: b.withdraw(*ids, half_b), client)
    if state in _ENDING:
        return
    hsm = _enabled_hsm_key(provider, hsm_key)

    async def ask(b: CosignerClient) -> None:
        if hsm is None:
            raise HsmKeyUnusable
        grant = await granting.granted(b, authoriser_of(provider), hsm, *ids, AuthorisationPurpose.FORGET, named)
        # By another half: what the co-signer has is of a later attempt, and none of ours.
        with suppress(StaleHalf):
            await b.forget(*ids, named, grant)

    try:
        blocking(ask, client)
    except (HsmKeyUnusable, HsmForbidden, HsmMisconfigured) as refusal:
        if not may_stay and not isinstance(refusal, HsmKeyUnusable):
            raise
        blocking(lambda b: b.disable(*ids), client)
        logger.error("the co-signer keeps a half that its HSM key cannot end", extra={"key_id": str(key.id)})


def _enabled_hsm_key(provider: str, name: str) -> HsmRef | None:
    """The HSM key of this name, ready to sign; None when it is destroyed, or was never made."""
    keeper = registration.hsm_key_managers().get(provider)
    if keeper is None:
        raise HsmMisconfigured
    for version in keeper.versions(name):
        with suppress(HsmKeyUnusable, NoCapability):  # or of a kind that is never disabled
            keeper.enable(version)
    found = keeper.check(name)
    return HsmRef(name, found.version, found.public_key.hex()) if found.phase is HsmKeyPhase.READY else None


@cache
def authoriser_of(provider: str) -> Authoriser:
    """Who authorises for keys of this provider."""
    hsm = providers.hsm_of(provider)
    if hsm is None or hsm.authoriser is None:
        raise LookupError(provider)
    return hsm.authoriser()


async def granted(
    client: CosignerClient, row: PersonalKey, authoriser: Authoriser, purpose: AuthorisationPurpose, subject: bytes
) -> UseAuthorisation:
    """A fresh authorisation by the row's HSM key."""
    return await granting.granted(client, authoriser, hsm_ref(row), row.tenant_id, row.id, purpose, subject)


def _complete(row: PersonalKey, half: SealedHalf, half_b: bytes, tweak: bytes | None) -> None:
    try:
        aggregate = KeyAggregate(b"\x02" + half.public, half_b, tweak)
    except CryptoError:
        raise CosignerMisbehaved from None
    row.encrypted_half_key, row.kek_version = half.pack(), half.sealed.kek_version
    row.public_key = aggregate.public_key.hex()
    row.cosigner_public_key, row.key_tweak = half_b[1:].hex(), (tweak or b"").hex()
