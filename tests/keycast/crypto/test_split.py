"""Halves: together they are the whole key in every combination of parities, and apart they are nothing."""

from __future__ import annotations

from itertools import product

import pytest

from keycast.crypto import musig, schnorr, split
from keycast.crypto.ecdh import shared_x
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import ORDER, KeyAggregate, MusigSession
from keycast.crypto.points import even_half, public_point
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes

MESSAGE = b"m" * 32


def number(secret):
    return int.from_bytes(secret.view(), "big")


def secret_of(value):
    return SecretBytes((value % ORDER).to_bytes(32, "big"))


def keypair_of(value):
    return Keypair.from_secret(secret_of(value))


def whole_of(a, b, aggregate):
    """The secret that exists nowhere else: computed here, with Python's own numbers, to compare with."""
    total = (
        int.from_bytes(aggregate.coefficient("A"), "big") * a + int.from_bytes(aggregate.coefficient("B"), "big") * b
    )
    return (-total if aggregate.is_odd else total) + int.from_bytes(aggregate.tweak or b"", "big")


def halves_with(odd_aggregate, odd_whole, tweak):
    """Random halves whose aggregate before and after the tweak have the wanted parities."""
    while True:
        (_, first), (_, second) = Keypair.generate(), Keypair.generate()
        a, b = number(first), number(second)
        aggregate = KeyAggregate(public_point(keypair_of(a)), public_point(keypair_of(b)), tweak)
        whole = keypair_of(whole_of(a, b, aggregate))
        if aggregate.is_odd is odd_aggregate and (public_point(whole)[0] == 3) is odd_whole:
            return a, b, aggregate, whole


def signed(first, second, aggregate):
    nonce_a, public_a = musig.make_nonce(first, aggregate, MESSAGE)
    nonce_b, public_b = musig.make_nonce(second, aggregate, MESSAGE)
    session = MusigSession(aggregate, public_a, public_b, MESSAGE)
    return musig.combine(session, musig.partial_sign(nonce_a, session), musig.partial_sign(nonce_b, session))


def joint_x(first, second, aggregate, peer):
    parts = [split.ecdh_contribution(half, aggregate, side, peer) for half, side in ((first, "A"), (second, "B"))]
    return split.combine_ecdh(*parts, aggregate, peer)


PARITIES = list(product([False, True], repeat=2))


@pytest.mark.parametrize("peer", [b"", bytes(32), b"\xff" * 32, bytes(33)])
def test_a_peer_that_is_no_point_is_refused(peer):
    half, other = even_half()[0], even_half()[0]
    aggregate = KeyAggregate(public_point(half), public_point(other))
    with pytest.raises(CryptoError):
        split.ecdh_contribution(half, aggregate, "A", peer)


def test_a_half_contributes_only_as_the_side_that_it_is():
    half, other = even_half()[0], even_half()[0]
    aggregate = KeyAggregate(public_point(half), public_point(other))
    peer = Keypair.generate()[0].public_key
    for wrong, side in ((half, "B"), (other, "A"), (even_half()[0], "A")):
        with pytest.raises(CryptoError):
            split.ecdh_contribution(wrong, aggregate, side, peer)


@pytest.mark.parametrize("part", [bytes(33), b"\x02" + b"\xff" * 32, b"\x02" * 32, b""])
def test_a_contribution_that_is_no_point_is_refused(part):
    half, other = even_half()[0], even_half()[0]
    aggregate = KeyAggregate(public_point(half), public_point(other))
    peer = Keypair.generate()[0].public_key
    good = split.ecdh_contribution(half, aggregate, "A", peer)
    with pytest.raises(CryptoError):
        split.combine_ecdh(good, SecretBytes(part), aggregate, peer)


@pytest.mark.parametrize("value", [0, ORDER, ORDER + 1])
def test_a_secret_out_of_range_is_not_split(value):
    with pytest.raises(CryptoError):
        split.new_halves_for(SecretBytes(value.to_bytes(32, "big")))


def test_halves_are_drawn_with_even_points():
    for _ in range(16):
        keypair, secret = even_half()
        assert public_point(keypair) == b"\x02" + keypair.public_key
        assert Keypair.from_secret(secret).public_key == keypair.public_key


@pytest.mark.parametrize(
    ("odd_aggregate", "odd_whole", "tweak"),
    # without a tweak the whole key always has an even point
    [(False, False, None), (True, False, None), *((*parities, b"\x2a" * 32) for parities in PARITIES)],
)
def test_joint_ecdh_and_signatures_are_those_of_the_whole_key(odd_aggregate, odd_whole, tweak):
    a, b, aggregate, whole = halves_with(odd_aggregate, odd_whole, tweak)
    first, second, peer = keypair_of(a), keypair_of(b), Keypair.generate()[0].public_key
    assert aggregate.public_key == whole.public_key
    assert joint_x(first, second, aggregate, peer) == shared_x(whole, peer)
    assert schnorr.verify(whole.public_key, MESSAGE, signed(first, second, aggregate))


@pytest.mark.parametrize(("odd_secret", "odd_aggregate"), PARITIES)
def test_an_imported_key_keeps_its_public_key_conversations_and_signatures(odd_secret, odd_aggregate):
    while True:
        whole, secret = Keypair.generate()
        a, b, tweak = split.new_halves_for(secret)
        first, second = Keypair.from_secret(a), Keypair.from_secret(b)
        aggregate = KeyAggregate(public_point(first), public_point(second), tweak)
        if ((public_point(whole)[0] == 3), aggregate.is_odd) == (odd_secret, odd_aggregate):
            break
    peer = Keypair.generate()[0].public_key
    assert aggregate.public_key == whole.public_key
    assert joint_x(first, second, aggregate, peer) == shared_x(whole, peer)
    assert schnorr.verify(whole.public_key, MESSAGE, signed(first, second, aggregate))


def test_two_splits_of_one_key_share_no_half():
    _, secret = Keypair.generate()
    one, other = split.new_halves_for(secret), split.new_halves_for(secret)
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]


@pytest.mark.parametrize("tweak", [None, b"\x2a" * 32], ids=["created", "imported"])
@pytest.mark.parametrize(("odd_old", "odd_new"), PARITIES)
def test_fresh_halves_make_the_same_key(odd_old, odd_new, tweak):
    a, b, old, whole = halves_with(odd_old, False, tweak)
    first, second = keypair_of(a), keypair_of(b)
    while True:
        new_first, new_second = even_half()[0], even_half()[0]
        untweaked = KeyAggregate(public_point(new_first), public_point(new_second))
        if untweaked.is_odd is odd_new:
            break
    differences = [
        split.refresh_difference(first, old, new_first, untweaked, "A"),
        split.refresh_difference(second, old, new_second, untweaked, "B"),
    ]
    fresh = KeyAggregate(*untweaked.keys.values(), split.refreshed_tweak(tweak, *differences))
    peer = Keypair.generate()[0].public_key
    assert fresh.public_key == old.public_key
    assert joint_x(new_first, new_second, fresh, peer) == shared_x(whole, peer)
    assert schnorr.verify(whole.public_key, MESSAGE, signed(new_first, new_second, fresh))


def test_an_old_half_and_a_new_one_make_another_key():
    _, secret = Keypair.generate()
    a, b, tweak = split.new_halves_for(secret)
    first, second = Keypair.from_secret(a), Keypair.from_secret(b)
    new_first, new_second = even_half()[0], even_half()[0]
    old = KeyAggregate(public_point(first), public_point(second), tweak)
    fresh = KeyAggregate(public_point(new_first), public_point(new_second))
    total = split.refreshed_tweak(
        tweak,
        split.refresh_difference(first, old, new_first, fresh, "A"),
        split.refresh_difference(second, old, new_second, fresh, "B"),
    )
    for key_a, key_b in ((first, new_second), (new_first, second)):
        for kept in (tweak, total):
            assert KeyAggregate(public_point(key_a), public_point(key_b), kept).public_key != old.public_key
