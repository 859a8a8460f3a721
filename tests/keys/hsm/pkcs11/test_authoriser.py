"""Authorising with a token: what is refused, what is tried again, and what comes out."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import replace
from uuid import uuid4

import pytest

from keycast.crypto import authoriser_keys, ecdsa
from keys.errors import KeyDamaged
from keys.hsm import calling
from keys.hsm.pkcs11 import client, names
from keys.hsm.pkcs11.calling import UnverifiableSignature
from keys.hsm.pkcs11.thread import ModuleThread
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured, HsmThrottled, HsmUnavailable
from tests.keys.hsm.pkcs11.conftest import in_token, make_hsm_key
from tests.waiting import LONG, until

pytestmark = pytest.mark.needs_softhsm


async def refusal(authoriser, hsm):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await authoriser.authorise(hsm, os.urandom(32))
    return type(caught.value)


async def test_a_reference_that_is_not_of_a_finished_key_is_refused_without_a_call(authoriser, hsm, monkeypatch):
    monkeypatch.setattr(client, "client", None)
    for broken in (
        replace(hsm, authoriser=""),
        replace(hsm, authoriser="zz"),
        replace(hsm, key_version=""),
        replace(hsm, key_version=names.new(uuid4())),
    ):
        assert await refusal(authoriser, broken) is KeyDamaged


async def test_a_signature_of_another_key_is_thrown_away_and_stops_nobody_else(authoriser, keeper, hsm):
    wrong = replace(hsm, authoriser=make_hsm_key(keeper).authoriser)
    for _ in range(4):
        assert await refusal(authoriser, wrong) is UnverifiableSignature
    assert not authoriser.breaker.is_open
    await authoriser.authorise(hsm, os.urandom(32))


async def test_a_key_that_is_not_there_authorises_nothing(authoriser, hsm):
    name = names.new(uuid4())
    assert await refusal(authoriser, replace(hsm, key_name=name, key_version=name)) is HsmKeyUnusable


async def test_without_the_library_nothing_is_called_and_the_refusal_says_what_to_do(authoriser, hsm, monkeypatch):
    monkeypatch.setattr("keys.hsm.pkcs11.config.is_installed", lambda: False)
    with pytest.raises(HsmMisconfigured, match="not installed"):
        await authoriser.authorise(hsm, os.urandom(32))


async def test_a_software_token_is_refused_in_production(authoriser, hsm, settings):
    client.reset()
    settings.IS_PRODUCTION = True
    with pytest.raises(HsmMisconfigured, match="software"):
        await authoriser.authorise(hsm, os.urandom(32))


@pytest.mark.parametrize("curve", ["secp256k1", "p256"])
async def test_every_signature_is_low_s_and_verifies(authoriser, keeper, settings, curve):
    settings.PKCS11_CURVE = curve
    hsm = make_hsm_key(keeper)
    key = bytes.fromhex(hsm.authoriser)
    assert authoriser_keys.curve_of(key).value == curve
    for _ in range(32):
        digest = os.urandom(32)
        signature = await authoriser.authorise(hsm, digest)
        assert authoriser_keys.normalise(key, signature) == signature
        assert authoriser_keys.verify(key, digest, signature)


async def test_requests_from_many_tasks_and_loops_take_turns(authoriser, hsm):
    digests = [os.urandom(32) for _ in range(50)]
    here = await asyncio.gather(*(authoriser.authorise(hsm, digest) for digest in digests))
    there: Future[bytes] = Future()
    thread = threading.Thread(
        target=lambda: there.set_result(asyncio.run(authoriser.authorise(hsm, digests[0]))), daemon=True
    )
    thread.start()
    signatures = [*here, await asyncio.wrap_future(there)]
    pairs = zip([*digests, digests[0]], signatures, strict=True)
    assert all(ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, each) for digest, each in pairs)


async def test_a_module_that_hangs_holds_up_neither_the_loop_nor_those_who_come_later(authoriser, hsm, monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.2)
    monkeypatch.setattr("keys.hsm.pkcs11.thread.TOTAL_SECONDS", 0.3)
    goes_on, ticks = threading.Event(), 0
    stuck = client.client().submit(lambda token, session: goes_on.wait(LONG))

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await refusal(authoriser, hsm) is HsmUnavailable
    assert ticks > 5
    until(lambda: client.module_thread().is_hanging)
    with pytest.raises(HsmUnavailable):
        client.client().submit(lambda token, session: None)
    ticking.cancel()
    goes_on.set()
    assert stuck.result(LONG)
    await authoriser.authorise(hsm, os.urandom(32))


async def test_too_many_at_once_are_told_so_at_once(authoriser, hsm, monkeypatch):
    monkeypatch.setattr("keys.hsm.pkcs11.thread.WAITING", 0)
    assert await refusal(authoriser, hsm) is HsmThrottled


def test_what_nobody_waits_for_any_more_is_not_done():
    thread, goes_on, done = ModuleThread(), threading.Event(), []
    first = thread.submit(lambda: goes_on.wait(LONG))
    given_up = thread.submit(lambda: done.append("given up"))
    last = thread.submit(lambda: done.append("last"))
    assert given_up.cancel()
    goes_on.set()
    first.result(LONG)
    last.result(LONG)
    assert done == ["last"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a search on the session that is gone
async def test_a_login_that_was_lost_is_renewed(authoriser, hsm):
    in_token(lambda session: session.close(), manages=False)
    digest = os.urandom(32)
    assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, await authoriser.authorise(hsm, digest))


async def test_a_token_that_was_taken_out_serves_again_when_it_is_back(authoriser, hsm, softhsm, monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.5)
    away = softhsm.tokens.with_name("away")
    client.reset()
    softhsm.tokens.rename(away)
    try:
        assert await refusal(authoriser, hsm) is HsmUnavailable
    finally:
        away.rename(softhsm.tokens)
    digest = os.urandom(32)
    assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, await authoriser.authorise(hsm, digest))
