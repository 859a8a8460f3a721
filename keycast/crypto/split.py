"""A key in two halves that never meet: splitting an imported key, joint Diffie-Hellman, and fresh halves.

With the coefficients ``c`` and the parity sign ``g`` of a KeyAggregate the secret of the whole is
``g * (cA * a + cB * b) + t``. The tweak ``t`` is public: while either half is unknown it reveals nothing.
"""

from __future__ import annotations

from typing import Any, Final

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.musig import ORDER, KeyAggregate, Side
from keycast.crypto.points import even_half, parsed, public_point, serialised
from keycast.crypto.schnorr import Keypair, is_public_key
from keycast.crypto.secret import SecretBytes

_MINUS_ONE: Final = (ORDER - 1).to_bytes(32, "big")
_STRUCT: Final = 64


def new_halves_for(secret: SecretBytes) -> tuple[SecretBytes, SecretBytes, bytes]:
    """Two random halves and the public tweak that make ``secret`` together; the caller wipes all three secrets.

    Both halves have public points of even Y. Raises CryptoError when ``secret`` is out of range.
    """
    while True:
        (first, a), (second, b) = even_half(), even_half()
        with first, second:
            aggregate = KeyAggregate(public_point(first), public_point(second))
            made = _tweak_for(secret, first, second, aggregate)
        if made is not None:
            return a, b, made
        a.wipe()  # the halves alone are the whole: once in 2^256 draws
        b.wipe()


def ecdh_contribution(half: Keypair, aggregate: KeyAggregate, side: Side, peer: bytes) -> SecretBytes:
    """This side's part of the joint secret with ``peer`` (32 bytes, x-only): a compressed point, 33 bytes.

    ``coefficient * half * peer`` in constant time; ``peer`` is taken with even Y (BIP-340, lift_x). Raises CryptoError.
    """
    if not is_public_key(peer):
        raise CryptoError("not a public key")
    point, output = parsed(b"\x02" + peer), SecretBytes.zero(33)
    with _weighted(half, aggregate, side) as factor:
        if not lib.secp256k1_ecdh(
            CONTEXT, ffi.from_buffer(output.view()), point, ffi.from_buffer(factor.view()), _copy_point, ffi.NULL
        ):
            output.wipe()
            raise CryptoError("the shared secret cannot be computed")
    return output


def combine_ecdh(part_a: SecretBytes, part_b: SecretBytes, aggregate: KeyAggregate, peer: bytes) -> SecretBytes:
    """The x coordinate (32 bytes, unhashed) that ``keycast.crypto.ecdh.shared_x`` of the whole key would give.

    Raises CryptoError for a part that is no point.
    """
    if not is_public_key(peer):
        raise CryptoError("not a public key")
    points = [ffi.new("secp256k1_pubkey *") for _ in range(2)]
    try:
        for point, part in zip(points, (part_a, part_b), strict=True):
            _parse_into(point, part)
        total = _sum(points)
        points.append(total)
        if aggregate.is_odd:
            lib.secp256k1_ec_pubkey_negate(CONTEXT, total)
        if aggregate.tweak:
            points.append(_sum([total, _times(peer, aggregate.tweak)]))
        return _x_of(points[-1])
    finally:
        for point in points:
            ffi.memmove(point, bytes(_STRUCT), _STRUCT)


def refresh_difference(
    old_half: Keypair, old_aggregate: KeyAggregate, new_half: Keypair, new_aggregate: KeyAggregate, side: Side
) -> SecretBytes:
    """What this side's share of the whole loses when its new half replaces the old one (32 bytes, mod n).

    To be told to the other side and to nobody else, and wiped after: with it, who has the old half has the new one.
    """
    total = _signed(old_half, old_aggregate, side)
    with _signed(new_half, new_aggregate, side) as share:
        lib.secp256k1_ec_seckey_negate(CONTEXT, ffi.from_buffer(share.view()))
        _add(total, share)
    return total


def refreshed_tweak(old_tweak: bytes | None, difference_a: SecretBytes, difference_b: SecretBytes) -> bytes:
    """The tweak under which the new halves make the same public key as the old ones did. Raises CryptoError.

    Compare the public keys before any use: a wrong difference gives another one.
    """
    with SecretBytes(difference_a.view()) as total:
        _add(total, difference_b)
        if old_tweak:
            with SecretBytes(old_tweak) as tweak:
                _add(total, tweak)
        return bytes(total.view())


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)", error=0)  # type: ignore[untyped-decorator]
def _copy_point(output: Any, x32: Any, y32: Any, _data: Any) -> int:
    output[0] = 2 | (y32[31] & 1)
    ffi.memmove(output + 1, x32, 32)
    return 1


def _tweak_for(secret: SecretBytes, first: Keypair, second: Keypair, aggregate: KeyAggregate) -> bytes | None:
    """``secret - g * (cA * a + cB * b)``, or None when that is zero."""
    Keypair.from_secret(secret).wipe()  # in range, or CryptoError
    with _signed(first, aggregate, "A") as total, _signed(second, aggregate, "B") as share:
        _add(total, share)
        lib.secp256k1_ec_seckey_negate(CONTEXT, ffi.from_buffer(total.view()))
        try:
            _add(total, secret)
        except CryptoError:
            return None
        return bytes(total.view())


def _weighted(half: Keypair, aggregate: KeyAggregate, side: Side) -> SecretBytes:
    """``coefficient * half``, in constant time."""
    if aggregate.side_of(half) != side:
        raise CryptoError("the half is not that side's")
    weighted = half.secret()
    if side == "A":  # the other coefficient is 1
        _multiply(weighted, aggregate.coefficient(side))
    return weighted


def _signed(half: Keypair, aggregate: KeyAggregate, side: Side) -> SecretBytes:
    """``g * coefficient * half``."""
    weighted = _weighted(half, aggregate, side)
    if aggregate.is_odd:
        _multiply(weighted, _MINUS_ONE)
    return weighted


def _multiply(secret: SecretBytes, factor: bytes) -> None:
    if lib.secp256k1_ec_seckey_tweak_mul(CONTEXT, ffi.from_buffer(secret.view()), factor) != 1:
        raise CryptoError("a factor is out of range")


def _add(total: SecretBytes, other: SecretBytes) -> None:
    if len(total) != 32 or len(other) != 32:
        raise CryptoError("a secret has the wrong length")
    if lib.secp256k1_ec_seckey_tweak_add(CONTEXT, ffi.from_buffer(total.view()), ffi.from_buffer(other.view())) != 1:
        raise CryptoError("a sum is out of range")
    if other.is_wiped:
        raise SecretWiped


def _parse_into(point: Any, part: SecretBytes) -> None:
    if len(part) != 33 or lib.secp256k1_ec_pubkey_parse(CONTEXT, point, ffi.from_buffer(part.view()), 33) != 1:
        raise CryptoError("not a point")


def _sum(points: list[Any]) -> Any:
    total = ffi.new("secp256k1_pubkey *")
    if lib.secp256k1_ec_pubkey_combine(CONTEXT, total, ffi.new("secp256k1_pubkey *[]", points), len(points)) != 1:
        raise CryptoError("the points cancel out")
    return total


def _times(peer: bytes, tweak: bytes) -> Any:
    """``tweak * peer``: both public, so variable time is no matter."""
    point = parsed(b"\x02" + peer)
    lib.secp256k1_ec_pubkey_tweak_mul(CONTEXT, point, tweak)
    return point


def _x_of(point: Any) -> SecretBytes:
    whole = serialised(point)
    secret = SecretBytes(memoryview(whole)[1:])
    ffi.memmove(ffi.from_buffer(whole), bytes(33), 33)
    return secret
