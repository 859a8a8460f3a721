"""MuSig2 of two: a nonce works once, for its own work, in its own process; what is combined verifies under BIP-340."""

from __future__ import annotations

import copy
import os
import pickle

import pytest

from keycast.crypto import musig, schnorr
from keycast.crypto.errors import CryptoError, SecretWiped, SignatureSelfCheckFailed
from keycast.crypto.musig import KeyAggregate, MusigSession, NonceSpent
from keycast.crypto.points import public_point
from keycast.crypto.schnorr import Keypair

MESSAGE = bytes(range(32))


class Pair:
    """Both signers in one process."""

    def __init__(self, tweak=None):
        self.a, self.b = Keypair.generate()[0], Keypair.generate()[0]
        self.whole = KeyAggregate(public_point(self.a), public_point(self.b), tweak)

    def begin(self, message=MESSAGE):
        nonce_a, public_a = musig.make_nonce(self.a, self.whole, message)
        nonce_b, public_b = musig.make_nonce(self.b, self.whole, message)
        return nonce_a, nonce_b, MusigSession(self.whole, public_a, public_b, message)


@pytest.fixture
def pair():
    return Pair()


def buffer_of(nonce):
    return bytes(musig.ffi.buffer(nonce._buffer))


def test_a_nonce_signs_once(pair):
    nonce, _, session = pair.begin()
    musig.partial_sign(nonce, session)
    with pytest.raises(NonceSpent):
        musig.partial_sign(nonce, session)


def test_a_nonce_is_overwritten_before_the_part_is_returned(pair, monkeypatch):
    nonce, _, session = pair.begin()
    buffer = nonce._buffer
    seen = []
    monkeypatch.setattr(musig, "sign_with", lambda given, *_: seen.append(bytes(musig.ffi.buffer(given))))
    musig.partial_sign(nonce, session)
    assert any(seen[0])
    assert not any(bytes(musig.ffi.buffer(buffer)))


def test_libsecp256k1_zeroes_the_nonce_itself(pair):
    nonce, _, session = pair.begin()
    buffer = nonce._buffer
    musig.sign_with(buffer, pair.a, pair.whole._cache, session._session)
    assert not any(bytes(musig.ffi.buffer(buffer)))


def test_a_nonce_is_spent_even_when_signing_fails(pair):
    nonce, _, session = pair.begin()
    buffer = nonce._buffer
    pair.a.wipe()
    with pytest.raises(SecretWiped):
        musig.partial_sign(nonce, session)
    assert not any(bytes(musig.ffi.buffer(buffer)))
    with pytest.raises(NonceSpent):
        musig.partial_sign(nonce, session)


def test_a_nonce_does_not_sign_another_message_and_is_gone_after_the_attempt(pair):
    nonce, _, session = pair.begin()
    other = MusigSession(pair.whole, session.nonces["A"], session.nonces["B"], bytes(32))
    for attempt in (other, session):
        with pytest.raises(NonceSpent):
            musig.partial_sign(nonce, attempt)


def test_a_nonce_does_not_sign_under_another_aggregate(pair):
    nonce, _, session = pair.begin()
    tweaked = KeyAggregate(pair.whole.keys["A"], pair.whole.keys["B"], b"\x01" * 32)
    with pytest.raises(NonceSpent):
        musig.partial_sign(nonce, MusigSession(tweaked, session.nonces["A"], session.nonces["B"], MESSAGE))


def test_a_nonce_does_not_sign_in_a_session_that_it_is_no_part_of(pair):
    nonce, _, _ = pair.begin()
    _, _, another = pair.begin()
    with pytest.raises(NonceSpent):
        musig.partial_sign(nonce, another)


def test_a_nonce_is_zero_and_useless_in_a_forked_child(pair):
    nonce, _, session = pair.begin()
    child = os.fork()
    if child == 0:  # pragma: no cover -- another process
        clean = not any(buffer_of(nonce))
        try:
            musig.partial_sign(nonce, session)
        except NonceSpent:
            os._exit(0 if clean else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(musig.partial_sign(nonce, session)) == 32


def test_a_nonce_is_never_copied(pair):
    nonce = pair.begin()[0]
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(nonce)
    assert repr(nonce) == "<SecretNonce>"


def test_a_deleted_nonce_leaves_nothing(pair):
    nonce = pair.begin()[0]
    buffer = nonce._buffer
    del nonce
    assert not any(bytes(musig.ffi.buffer(buffer)))


def test_two_nonces_for_one_message_differ(pair):
    assert musig.make_nonce(pair.a, pair.whole, MESSAGE)[1] != musig.make_nonce(pair.a, pair.whole, MESSAGE)[1]


def test_a_half_of_another_key_draws_no_nonce(pair):
    with pytest.raises(CryptoError):
        musig.make_nonce(Keypair.generate()[0], pair.whole, MESSAGE)


@pytest.mark.parametrize("message", [b"", bytes(31), bytes(33), "x" * 32, bytearray(32)])
def test_only_digests_are_signed(pair, message):
    with pytest.raises(CryptoError):
        musig.make_nonce(pair.a, pair.whole, message)


@pytest.mark.parametrize("nonce", [b"", bytes(66), b"\x02" * 65, b"\x05" + bytes(65), "x" * 66])
def test_what_is_no_public_nonce_makes_no_session(pair, nonce):
    _, public = musig.make_nonce(pair.a, pair.whole, MESSAGE)
    with pytest.raises(CryptoError):
        MusigSession(pair.whole, public, nonce, MESSAGE)


def test_a_nonce_sent_back_as_ones_own_makes_no_session(pair):
    _, public = musig.make_nonce(pair.a, pair.whole, MESSAGE)
    with pytest.raises(CryptoError):
        MusigSession(pair.whole, public, public, MESSAGE)


@pytest.mark.parametrize("tweak", [b"", bytes(32), musig.ORDER.to_bytes(32, "big"), b"\xff" * 32, bytes(31)])
def test_a_tweak_out_of_range_is_refused(pair, tweak):
    with pytest.raises(CryptoError):
        KeyAggregate(pair.whole.keys["A"], pair.whole.keys["B"], tweak)


@pytest.mark.parametrize("key", [b"", bytes(33), b"\x04" + bytes(32), b"\x02" + b"\xff" * 32])
def test_what_is_no_key_is_not_aggregated(pair, key):
    with pytest.raises(CryptoError):
        KeyAggregate(pair.whole.keys["A"], key)
    with pytest.raises(CryptoError):
        KeyAggregate(pair.whole.keys["A"], pair.whole.keys["A"])


def test_a_wrong_part_is_known_and_never_combined(pair):
    nonce_a, nonce_b, session = pair.begin()
    part_a, part_b = musig.partial_sign(nonce_a, session), musig.partial_sign(nonce_b, session)
    altered = part_b[:-1] + bytes([part_b[-1] ^ 1])
    assert not musig.verify_partial(session, "B", altered)
    assert not musig.verify_partial(session, "A", part_b)
    assert not musig.verify_partial(session, "B", b"")
    with pytest.raises(SignatureSelfCheckFailed):
        musig.combine(session, part_a, altered)


@pytest.mark.parametrize("tweak", [None, b"\x07" * 32])
def test_the_parts_make_a_signature_of_the_whole(tweak):
    odd = set()
    for _ in range(24):
        pair = Pair(tweak)
        nonce_a, nonce_b, session = pair.begin()
        part_a, part_b = musig.partial_sign(nonce_a, session), musig.partial_sign(nonce_b, session)
        assert musig.verify_partial(session, "A", part_a)
        assert musig.verify_partial(session, "B", part_b)
        assert schnorr.verify(pair.whole.public_key, MESSAGE, musig.combine(session, part_a, part_b))
        odd.add(pair.whole.is_odd)
    assert odd == {False, True}
