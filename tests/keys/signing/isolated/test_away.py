"""A signer that is down, hangs, is killed or starts again: a clear error in time, nothing lost, no restart of ours."""

from __future__ import annotations

import asyncio
import uuid
from inspect import signature

import pytest

from keycast.nostr.nip01 import verify_event
from keys.errors import KekUnavailable
from keys.refs import KeyRef, SecretPurpose
from keys.signing import factory
from keys.signing.isolated import access
from keys.signing.isolated.client import CONNECT_WITHIN, WITHIN, SignerClient
from keys.signing.isolated.errors import SignerBusy, SignerUnavailable
from keys.signing.runtime import signing_service, transport_service
from keys.signing.signer import report
from tests.keys.signing.isolated.support import asking
from tests.keys.signing.isolated.test_both_shapes import made_key, note
from tests.waiting import LONG, until


def a_key():
    tenant_id, row_id, made = made_key()
    return KeyRef(tenant_id, row_id, made.public_key, "encrypted", "", made.sealed)


async def refusal_of(key):
    """Within the bound that SignerClient.ask keeps itself; a wait that it does not bound would be one for ever."""
    with pytest.raises(SignerUnavailable) as refused:
        await asyncio.wait_for(signing_service().sign_event(key, note(key)), LONG)
    return refused.value


def test_every_wait_for_the_signer_is_bounded_below_five_seconds():
    assert 0 < CONNECT_WITHIN < WITHIN < 5
    bounds = [signature(ask).parameters["within"].default for ask in (SignerClient.ask, SignerClient.ask_now)]
    assert bounds == [WITHIN, WITHIN]


async def test_where_there_is_none_every_way_says_so(tmp_path):
    with asking(tmp_path / "nobody.sock"):
        key = KeyRef(uuid.uuid4(), uuid.uuid4(), "a" * 64, "encrypted", "", None)
        error = await refusal_of(key)
        assert (error.code, error.http_status) == ("signer-unavailable", 503)
        assert isinstance(error, KekUnavailable)
        assert str(tmp_path) not in error.public_message
        with pytest.raises(SignerUnavailable):
            factory.key_maker().draw_half(tenant_id=key.tenant_id, key_id=key.key_id)
        assert factory.kek_problem()
        assert not report().is_ok
        signing_service().forget(key.key_id)
        signing_service().forget_all()


def test_an_operators_look_waits_as_long_as_a_request_may(tmp_path, monkeypatch):
    waited = []

    def hangs(within):
        waited.append(within)
        raise SignerUnavailable

    monkeypatch.setattr(access, "status", hangs)
    with asking(tmp_path / "nobody.sock"):
        assert not report().is_ok
    assert waited == [5.0]


async def test_one_that_hangs_is_given_up_by_each_request_and_all_come_back(own_signer):
    key = a_key()
    await signing_service().sign_event(key, note(key))
    own_signer.pause()
    errors = await asyncio.gather(*(refusal_of(key) for _ in range(20)))
    assert {error.code for error in errors} == {"signer-unavailable"}
    own_signer.resume()
    assert verify_event(await signing_service().sign_event(key, note(key)))


async def test_one_that_is_killed_is_found_again_when_it_is_back(own_signer):
    key = a_key()
    await signing_service().sign_event(key, note(key))
    own_signer.kill()
    with pytest.raises(SignerUnavailable):
        a_key()
    await refusal_of(key)
    own_signer.start()
    assert verify_event(await signing_service().sign_event(key, note(key)))
    a_key()


async def test_requests_under_way_at_a_restart_are_asked_again_or_refused_never_lost(own_signer):
    key = a_key()
    stop = asyncio.Event()

    async def client(numbers):
        while not stop.is_set():
            try:
                event = await signing_service().sign_event(key, note(key, f"{uuid.uuid4()}"))
            except SignerUnavailable:
                numbers[1] += 1
            else:
                assert verify_event(event)
                numbers[0] += 1

    counts = [[0, 0] for _ in range(10)]
    clients = [asyncio.create_task(client(numbers)) for numbers in counts]
    for _ in range(2):
        before = sum(done for done, _ in counts)
        await asyncio.to_thread(until, lambda before=before: sum(done for done, _ in counts) > before + 20)
        own_signer.kill()
        await asyncio.to_thread(own_signer.start)
    before = sum(done for done, _ in counts)
    await asyncio.to_thread(until, lambda: sum(done for done, _ in counts) > before + 20)
    stop.set()
    await asyncio.wait_for(asyncio.gather(*clients), 10)


async def test_what_the_lease_keeps_open_here_serves_while_it_is_away(own_signer):
    from keys.refs import TransportRef

    tenant_id, row_id, made = made_key(SecretPurpose.TRANSPORT_KEY, parent := uuid.uuid4())
    ref = TransportRef(tenant_id, row_id, parent, made.public_key, made.sealed)
    opened = await transport_service().open(ref)
    own_signer.kill()
    assert await transport_service().open(ref) is opened
    transport_service().forget_all()
    with pytest.raises(SignerUnavailable):
        await transport_service().open(ref)


async def test_too_many_requests_at_once_are_refused_as_busy(own_signer):
    key = a_key()
    way = SignerClient(lambda: str(own_signer.socket), at_once=5)
    signer = access.RemoteSigner(way)
    await signer.crypt(key, "nip44_encrypt", key.public_key, "x")
    own_signer.pause()
    waiting = [asyncio.create_task(signer.crypt(key, "nip44_encrypt", key.public_key, "x")) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(SignerBusy):
        await signer.crypt(key, "nip44_encrypt", key.public_key, "x")
    own_signer.resume()
    assert len(await asyncio.gather(*waiting)) == 5
    await way.close()


async def test_told_to_stop_it_still_answers_whoever_is_still_asking(own_signer):
    key = a_key()
    await signing_service().sign_event(key, note(key))
    own_signer.process.terminate()
    for _ in range(20):
        assert verify_event(await signing_service().sign_event(key, note(key)))
    assert await asyncio.to_thread(own_signer.stop) == 0
    assert not own_signer.socket.exists()
