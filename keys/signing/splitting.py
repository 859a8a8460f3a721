"""The arithmetic of opened halves: splitting a key into two sealed ones, and the tweak that fresh ones need."""

from __future__ import annotations

from keycast.crypto import split
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KeyDamaged
from keys.signing import envelope
from keys.signing.cosigning.errors import CosignerMisbehaved
from keys.signing.envelope import SealingContext
from keys.signing.half import half_in_transit_context, sealing_context_of
from keys.signing.kms.protocol import KekProvider
from keys.signing.protocol import SplitKey
from keys.signing.vault import unlock


def split_key(secret: SecretBytes, place: SealingContext, kek: KekProvider) -> SplitKey:
    """Halves of the key at ``place``, which together are that key again, each sealed and opened once to be sure.

    Raises KeyDamaged when they are not, KekUnavailable. ``secret`` stays the caller's to wipe.
    """
    tenant_id, key_id = place.tenant_id, place.row_id
    try:
        a, b, tweak = split.new_halves_for(secret)
        with a, b, Keypair.from_secret(a) as first, Keypair.from_secret(b) as second:
            half_a, half_b = first.public_key, second.public_key
            made = KeyAggregate(b"\x02" + half_a, b"\x02" + half_b, tweak)
            if made.public_key.hex() != place.public_key:
                raise KeyDamaged
            place_a, place_b = (
                sealing_context_of(half_a, tenant_id, key_id),
                half_in_transit_context(half_b, tenant_id, key_id),
            )
            sealed_a, sealed_b = envelope.seal(a, place_a, kek), envelope.seal(b, place_b, kek)
    except CryptoError:
        raise KeyDamaged from None
    for sealed, where in ((sealed_a, place_a), (sealed_b, place_b)):
        unlock(sealed, where, kek).wipe()
    return SplitKey(half_a, sealed_a, half_b, sealed_b, tweak)


def tweak_of_fresh(before: KeyAggregate, old: Keypair, new: Keypair, half_b: bytes, difference_b: SecretBytes) -> bytes:
    """The tweak with which fresh halves make the same key; ``old`` and ``new`` are halves A, ``half_b`` is x-only.

    ``difference_b`` is the co-signer's. Raises CosignerMisbehaved when they do not make the same key.
    """
    try:
        untweaked = KeyAggregate(b"\x02" + new.public_key, b"\x02" + half_b)
        with split.refresh_difference(old, before, new, untweaked, "A") as difference_a:
            tweak = split.refreshed_tweak(before.tweak, difference_a, difference_b)
        made = KeyAggregate(untweaked.keys["A"], untweaked.keys["B"], tweak)
    except CryptoError:
        raise CosignerMisbehaved from None
    if made.public_key != before.public_key:
        raise CosignerMisbehaved
    return tweak
