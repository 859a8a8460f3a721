"""Authorising with Cloud KMS: what is refused, what is tried again, and what comes out."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from itertools import count

import pytest

from keycast.crypto import ecdsa
from keys import hsm_errors as errors
from keys.errors import KeyDamaged
from keys.hsm import calling
from keys.hsm.google import clients
from keys.hsm.google.authoriser import GoogleAuthoriser
from tests.keys.hsm.google.conftest import TRANSIENT_CODES, make_hsm_key, misbehave
from tests.waiting import LONG

SIGN = "AsymmetricSign"


@pytest.fixture(autouse=True)
def short_tries(monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.3)


async def refusal(authoriser, hsm):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await authoriser.authorise(hsm, os.urandom(32))
    return type(caught.value)


async def test_a_reference_that_is_not_of_a_finished_key_is_refused_without_a_call(emulator, authoriser, hsm):
    for broken in (
        replace(hsm, authoriser=""),
        replace(hsm, authoriser="zz"),
        replace(hsm, key_version=""),
        replace(hsm, key_version=f"{hsm.key_name}x/cryptoKeyVersions/1"),
    ):
        assert await refusal(authoriser, broken) is KeyDamaged
    assert emulator.calls == {}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("wrong-checksum", {}), ("unverified", {}), ("wrong-name", {}), ("wrong-payload", {})],
)
async def test_an_answer_that_fails_a_check_is_thrown_away_and_asked_for_three_times(
    emulator, authoriser, hsm, kind, fields
):
    misbehave(emulator, kind, SIGN, **fields)
    assert issubclass(await refusal(authoriser, hsm), errors.HsmAnswerRefused)
    assert emulator.calls == {SIGN: 3}


async def test_a_signature_of_another_key_is_thrown_away(authoriser, keeper, hsm):
    other = make_hsm_key(keeper)
    assert issubclass(await refusal(authoriser, replace(hsm, authoriser=other.authoriser)), errors.HsmAnswerRefused)


async def test_another_keys_stored_public_key_does_not_stop_everybody(authoriser, keeper, hsm):
    wrong = replace(hsm, authoriser=make_hsm_key(keeper).authoriser)
    for _ in range(4):
        await refusal(authoriser, wrong)
    assert not authoriser.breaker.is_open
    await authoriser.authorise(hsm, os.urandom(32))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("PERMISSION_DENIED", errors.HsmForbidden),
        ("UNAUTHENTICATED", errors.HsmForbidden),
        ("FAILED_PRECONDITION", errors.HsmKeyUnusable),
        ("NOT_FOUND", errors.HsmKeyUnusable),
    ],
)
async def test_a_plain_no_is_never_asked_again(emulator, authoriser, hsm, code, error):
    misbehave(emulator, "error", SIGN, code=code, times=1)
    assert await refusal(authoriser, hsm) is error
    assert len(await authoriser.authorise(hsm, os.urandom(32))) == 64
    assert not authoriser.breaker.is_open


async def test_a_request_that_is_called_malformed_is_sent_once_more(emulator, authoriser, hsm):
    """A digest, or its checksum, that a fault broke on the way is called so, too."""
    misbehave(emulator, "error", SIGN, code="INVALID_ARGUMENT", times=1)
    assert len(await authoriser.authorise(hsm, os.urandom(32))) == 64
    misbehave(emulator, "error", SIGN, code="INVALID_ARGUMENT", times=2)
    assert await refusal(authoriser, hsm) is errors.HsmMisconfigured
    assert not authoriser.breaker.is_open


@pytest.mark.parametrize("code", TRANSIENT_CODES)
async def test_a_passing_failure_is_tried_again(emulator, authoriser, hsm, code):
    misbehave(emulator, "error", SIGN, code=code, times=2)
    digest = os.urandom(32)
    signature = await authoriser.authorise(hsm, digest)
    assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, signature)


async def test_three_passing_failures_are_one_refusal(emulator, authoriser, hsm):
    misbehave(emulator, "error", SIGN, code="UNAVAILABLE", times=3)
    assert await refusal(authoriser, hsm) is errors.HsmUnavailable
    misbehave(emulator, "error", SIGN, code="RESOURCE_EXHAUSTED", times=3)
    assert await refusal(GoogleAuthoriser(), hsm) is errors.HsmThrottled


async def test_silence_ends_in_time(emulator, authoriser, hsm):
    misbehave(emulator, "hang", SIGN, seconds=30)
    assert await refusal(authoriser, hsm) is errors.HsmUnavailable


async def test_a_service_that_is_not_there_ends_in_time(settings, emulator, authoriser, hsm):
    settings.KMS_ENDPOINT = "127.0.0.1:9"
    clients.reset()
    assert await refusal(authoriser, hsm) is errors.HsmUnavailable


async def test_a_disabled_version_authorises_nothing_until_it_is_enabled(authoriser, keeper, hsm):
    await asyncio.to_thread(keeper.disable, hsm.key_version)
    assert await refusal(authoriser, hsm) is errors.HsmKeyUnusable
    await asyncio.to_thread(keeper.enable, hsm.key_version)
    await authoriser.authorise(hsm, os.urandom(32))


async def test_a_destroyed_version_authorises_nothing(authoriser, keeper, hsm):
    await asyncio.to_thread(keeper.destroy, hsm.key_version)
    assert await refusal(authoriser, hsm) is errors.HsmKeyUnusable


async def test_every_signature_is_low_s_and_verifies(authoriser, hsm):
    for _ in range(32):
        digest = os.urandom(32)
        signature = await authoriser.authorise(hsm, digest)
        assert ecdsa.normalise(signature) == signature
        assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, signature)


async def test_many_requests_are_under_way_at_once(emulator, authoriser, hsm, monkeypatch):
    """The emulator answers nobody before it has been asked by fifty."""
    monkeypatch.setattr(calling, "TRY_SECONDS", 4.0)  # emulator and client share a busy machine here
    await authoriser.authorise(hsm, os.urandom(32))
    asked, are_there = count(1), threading.Event()

    def take(method):
        if next(asked) == 50:
            are_there.set()
        are_there.wait(LONG)
        return []

    monkeypatch.setattr(emulator.faults, "take", take)
    await asyncio.gather(*(authoriser.authorise(hsm, os.urandom(32)) for _ in range(100)))


async def test_too_many_at_once_are_told_so_at_once(monkeypatch, authoriser, hsm):
    monkeypatch.setattr(clients, "WAITING", 0)
    assert await refusal(authoriser, hsm) is errors.HsmThrottled
