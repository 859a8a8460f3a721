"""Secrets refuse to be seen, and are gone when they are wiped."""

from __future__ import annotations

import copy
import gc
import json
import logging
import pickle

import msgspec
import pytest

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.secret import SecretBytes, view_of, wipe_bytes

CANARY = b"canary-canary-canary-canary-cana"


@pytest.fixture
def secret():
    return SecretBytes(CANARY)


@pytest.mark.parametrize(
    "attempt",
    [bytes, list, iter, copy.copy, copy.deepcopy, pickle.dumps, json.dumps, msgspec.json.encode, hash, set, dict],
    ids=lambda attempt: attempt.__qualname__,
)
def test_it_refuses_to_be_copied_iterated_hashed_or_serialised(secret, attempt):
    with pytest.raises(TypeError) as refusal:
        attempt([secret] if attempt is set else secret)
    assert "canary" not in str(refusal.value)


def test_it_refuses_index_and_membership(secret):
    with pytest.raises(TypeError):
        secret[0]
    with pytest.raises(TypeError):
        97 in secret  # noqa: B015


def test_it_refuses_what_is_not_bytes():
    with pytest.raises(TypeError):
        SecretBytes("text")
    with pytest.raises(TypeError):
        SecretBytes(32)
    with pytest.raises(TypeError):
        SecretBytes.adopt(b"bytes")


def test_nothing_that_prints_it_shows_it(secret, caplog):
    logging.getLogger("test").error("%s %r %s", secret, secret, [secret])
    shown = f"{secret} {secret!r} {secret:>40} {[secret]} {caplog.text}" + "%s" % secret  # noqa: UP031
    assert "canary" not in shown
    assert CANARY.hex() not in shown
    assert repr(secret) == "<SecretBytes 32>"


def test_it_has_no_attribute_dictionary(secret):
    with pytest.raises(TypeError):
        vars(secret)


def test_a_wiped_secret_gives_no_view(secret):
    secret.wipe()
    with pytest.raises(SecretWiped):
        secret.view()
    with pytest.raises(SecretWiped):
        assert secret == SecretBytes.zero(32)


def test_wiping_zeroes_views_that_are_still_held(secret):
    view = secret.view()
    secret.wipe()
    secret.wipe()
    assert bytes(view) == bytes(32)
    assert secret.is_wiped
    assert not secret
    assert len(secret) == 32


def test_leaving_the_block_wipes_it():
    with SecretBytes(CANARY) as secret:
        view = secret.view()
    assert bytes(view) == bytes(32)


def test_an_error_in_the_block_wipes_it():
    with pytest.raises(ZeroDivisionError), SecretBytes(CANARY) as secret:
        view = secret.view()
        raise ZeroDivisionError
    assert bytes(view) == bytes(32)


def test_deleting_it_wipes_it():
    secret = SecretBytes(CANARY)
    view = secret.view()
    del secret
    gc.collect()
    assert bytes(view) == bytes(32)


def test_it_equals_only_a_secret_of_the_same_bytes(secret):
    assert secret == SecretBytes(CANARY)
    assert secret != SecretBytes(CANARY[:-1] + b"x")
    assert secret != SecretBytes(CANARY[:-1])
    assert secret != CANARY
    assert secret != bytearray(CANARY)


def test_the_view_writes_into_the_one_buffer():
    secret = SecretBytes.zero(4)
    secret.view()[:] = b"abcd"
    assert secret == SecretBytes(b"abcd")


def test_random_secrets_differ():
    drawn = [bytes(secret.view()) for secret in [SecretBytes.random(32) for _ in range(20)]]
    assert len(set(drawn)) == 20
    assert all(len(data) == 32 for data in drawn)


def test_adopting_takes_the_buffer_itself():
    buffer = bytearray(CANARY)
    SecretBytes.adopt(buffer).wipe()
    assert buffer == bytes(32)


def test_adopting_bytes_overwrites_the_source():
    source = bytes(bytearray(CANARY))
    secret = SecretBytes.adopt_bytes(source)
    assert source == bytes(32)
    assert secret == SecretBytes(CANARY)


def test_bytes_that_the_interpreter_shares_are_left_alone():
    for shared in (b"", b"a"):
        wipe_bytes(shared)
    assert bytes([97]) == b"a"
    with pytest.raises(TypeError):
        wipe_bytes(bytearray(b"ab"))


def test_a_view_of_the_wrong_length_or_type_is_refused():
    with pytest.raises(CryptoError):
        view_of(SecretBytes.zero(31), 32)
    with pytest.raises(CryptoError):
        view_of(memoryview(bytearray(64))[::2], 32)
    with pytest.raises(CryptoError):
        view_of(memoryview(bytearray(32)).cast("I"), 32)
    with pytest.raises(TypeError):
        view_of(bytes(32), 32)
    assert view_of(bytearray(32), 32).nbytes == 32
