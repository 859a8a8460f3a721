"""Signing and verifying: refusals, self-check, wiping."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.crypto import _secp256k1, schnorr
from keycast.crypto.errors import CryptoError, SecretWiped, SignatureSelfCheckFailed
from keycast.crypto.schnorr import Keypair, is_public_key, verify
from keycast.crypto.secret import SecretBytes

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MESSAGE = bytes(range(32))


@pytest.fixture
def keypair():
    return Keypair.generate()[0]


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_a_secret_out_of_range_is_refused(number):
    with pytest.raises(CryptoError) as refusal:
        Keypair.from_secret(SecretBytes(number.to_bytes(32, "big")))
    assert f"{number:x}" not in str(refusal.value)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused(size):
    with pytest.raises(CryptoError):
        Keypair.from_secret(SecretBytes(b"\x01" * size))


@pytest.mark.parametrize("secret", [b"\x01" * 32, "01" * 32, 1, None, [1] * 32])
def test_a_secret_that_cannot_be_wiped_is_refused(secret):
    with pytest.raises(TypeError):
        Keypair.from_secret(secret)


@pytest.mark.parametrize("message", [b"", bytes(31), bytes(33), bytearray(32), "0" * 32, None])
def test_only_digests_of_32_bytes_are_signed(keypair, message):
    with pytest.raises(CryptoError):
        keypair.sign(message)
    with pytest.raises(CryptoError):
        keypair.sign_unchecked(message)


def test_a_wiped_keypair_does_not_sign_and_gives_no_secret(keypair):
    keypair.wipe()
    for attempt in (lambda: keypair.sign(MESSAGE), lambda: keypair.sign_unchecked(MESSAGE), keypair.secret):
        with pytest.raises(SecretWiped):
            attempt()
    assert keypair.is_wiped
    assert bytes(_secp256k1.ffi.buffer(keypair._keypair)) == bytes(96)


def test_deleting_a_keypair_wipes_it_while_another_thread_holds_its_lock():
    keypair = Keypair.generate()[0]
    buffer, lock = keypair._keypair, keypair._lock
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    del keypair
    done.set()
    holder.join()
    assert bytes(_secp256k1.ffi.buffer(buffer)) == bytes(96)


def test_a_signature_that_does_not_verify_is_not_released(keypair, monkeypatch):
    monkeypatch.setattr(Keypair, "sign_unchecked", lambda *_: bytes(64))
    with pytest.raises(SignatureSelfCheckFailed):
        keypair.sign(MESSAGE)


def test_it_is_never_copied_pickled_or_made_by_hand(keypair):
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps, lambda _: Keypair()):
        with pytest.raises(TypeError):
            attempt(keypair)


def test_its_repr_shows_the_public_key_alone():
    keypair, secret = Keypair.generate()
    assert bytes(secret.view()).hex()[:8] not in repr(keypair)
    assert keypair.public_key_hex[:8] in repr(keypair)


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_an_altered_signature_does_not_verify(keypair, position):
    signature = bytearray(keypair.sign(MESSAGE))
    signature[position] ^= 1
    assert not verify(keypair.public_key, MESSAGE, bytes(signature))


def test_malformed_input_to_verify_is_false_and_nothing_worse(keypair):
    signature = keypair.sign(MESSAGE)
    for public_key in (b"", bytes(32), keypair.public_key[:31], keypair.public_key + b"\0", None, bytearray(32)):
        assert not verify(public_key, MESSAGE, signature)
    for broken in (b"", signature[:63], signature + b"\0", bytes(64), None, signature.hex(), bytearray(signature)):
        assert not verify(keypair.public_key, MESSAGE, broken)
    assert not verify(keypair.public_key, None, signature)
    assert not verify(keypair.public_key, MESSAGE.hex(), signature)


@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=70))
def test_no_bytes_make_verify_raise(public_key, message, signature):
    assert verify(public_key, message, signature) is False


def test_a_signature_verifies_and_differs_each_time(keypair):
    first, second = keypair.sign(MESSAGE), keypair.sign(MESSAGE)
    assert first != second
    assert verify(keypair.public_key, MESSAGE, first)
    assert verify(keypair.public_key, MESSAGE, second)
    assert verify(keypair.public_key, MESSAGE, keypair.sign_unchecked(MESSAGE))


def test_the_secret_leads_back_to_the_same_keypair():
    keypair, secret = Keypair.generate()
    assert keypair.secret() == secret
    assert Keypair.from_secret(secret).public_key == keypair.public_key
    assert Keypair.from_secret(secret.view()).public_key == keypair.public_key
    assert keypair.public_key.hex() == keypair.public_key_hex


def test_making_a_keypair_leaves_the_secret_to_the_caller():
    secret = SecretBytes.random(32)
    with Keypair.from_secret(secret) as keypair:
        pass
    assert keypair.is_wiped
    assert not secret.is_wiped


@pytest.mark.parametrize("number", [1, ORDER - 1])
def test_the_ends_of_the_range_sign(number):
    keypair = Keypair.from_secret(SecretBytes(number.to_bytes(32, "big")))
    assert verify(keypair.public_key, MESSAGE, keypair.sign(MESSAGE))


def test_only_an_x_coordinate_on_the_curve_is_a_public_key(keypair):
    assert is_public_key(keypair.public_key)
    not_on_curve = bytes.fromhex("eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34")
    for other in (not_on_curve, bytes(32), b"\xff" * 32, keypair.public_key[:31], keypair.public_key_hex, None):
        assert not is_public_key(other)


def test_remembered_keys_are_bounded():
    assert schnorr._parsed.cache_info().maxsize == 4096


def test_wiping_while_others_sign_never_signs_with_zeros():
    """Without the lock libsecp256k1 would abort the whole process here."""
    for _ in range(20):
        keypair = Keypair.generate()[0]
        outcomes = []

        def work(keypair=keypair, outcomes=outcomes):
            try:
                while True:
                    outcomes.append(verify(keypair.public_key, MESSAGE, keypair.sign(MESSAGE)))
            except SecretWiped:
                outcomes.append(None)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        keypair.wipe()
        for thread in threads:
            thread.join()
        assert False not in outcomes
        assert outcomes.count(None) == 4


def test_the_self_test_passes():
    schnorr.self_test()


def test_a_library_that_fails_the_self_test_stops_the_start(monkeypatch):
    monkeypatch.setattr(schnorr, "verify", lambda *_: True)
    with pytest.raises(ImportError, match="BIP-340"):
        schnorr.self_test()


def test_another_version_of_the_library_stops_the_start(monkeypatch):
    monkeypatch.setattr(_secp256k1, "version", lambda _: "20.0.0")
    with pytest.raises(ImportError, match="exactly"):
        _secp256k1._check_version()


def test_structs_of_another_size_stop_the_start(monkeypatch):
    monkeypatch.setitem(_secp256k1.STRUCT_SIZES, "secp256k1_keypair", 97)
    with pytest.raises(ImportError, match="size"):
        _secp256k1._check_version()
