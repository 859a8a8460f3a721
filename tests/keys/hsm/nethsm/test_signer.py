"""Keys in a NetHSM sign; everything that can go wrong ends in a clear error, soon."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import httpx
import pytest

from keycast.crypto import schnorr
from keycast.emulators.nethsm.server import NetHsmEmulator
from keycast.nostr.nip01 import UnsignedEvent, verify_event
from keycast.nostr.nip46 import CRYPT_METHODS
from keys.errors import KeyDamaged, NoCapability, SignatureRefused
from keys.hsm import calling
from keys.hsm.circuit_breaker import FAILURES
from keys.hsm.nethsm import clients
from keys.hsm.nethsm.calling import HsmLocked
from keys.hsm.nethsm.signer import NetHsmSigner
from keys.hsm_errors import (
    HsmAnswerRefused,
    HsmForbidden,
    HsmKeyUnusable,
    HsmMisconfigured,
    HsmThrottled,
    HsmUnavailable,
)
from keys.signing.service import SigningService
from tests.keys.hsm.nethsm.conftest import misbehave


async def report(key_id, damage):
    """Damage is of no interest here."""


def event_of(key):
    return UnsignedEvent(pubkey=key.public_key, created_at=1_700_000_000, kind=1, tags=[], content="hello")


async def sign(signer, key):
    return await SigningService({("hsm", "nethsm"): signer}, report).sign_event(key, event_of(key))


async def test_a_wrong_signature_from_the_device_is_never_released(signer, device_key, emulator):
    misbehave(emulator, "wrong-signature", "sign")
    with pytest.raises(SignatureRefused):
        await sign(signer, device_key)


@pytest.mark.parametrize("kind", ["short-signature", "garbage"])
async def test_an_answer_that_is_no_signature_is_refused(signer, device_key, emulator, kind):
    misbehave(emulator, kind, "sign")
    with pytest.raises(HsmAnswerRefused):
        await sign(signer, device_key)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, HsmMisconfigured),
        (400, HsmMisconfigured),
        (401, HsmForbidden),
        (403, HsmForbidden),
        (404, HsmKeyUnusable),
        (406, HsmMisconfigured),
        (412, HsmLocked),
    ],
)
async def test_a_refusal_is_translated_and_not_asked_again(signer, device_key, emulator, status, error):
    misbehave(emulator, "status", "sign", status=status, times=1)
    with pytest.raises(error) as caught:
        await signer.sign_event_id(device_key, event_of(device_key), b"m" * 32)
    assert type(caught.value) is error
    assert emulator.app.calls == []


@pytest.mark.parametrize("seconds", [0, 3600])
async def test_throttling_that_lasts_is_said(signer, device_key, emulator, seconds):
    misbehave(emulator, "status", "sign", status=429, seconds=seconds)
    with pytest.raises(HsmThrottled):
        await sign(signer, device_key)


@pytest.mark.parametrize(("kind", "fields"), [("latency", {"seconds": 6}), ("disconnect", {}), ("status", {})])
async def test_a_device_that_does_not_answer_is_given_up(signer, device_key, emulator, kind, fields):
    misbehave(emulator, kind, "sign", **fields)
    with pytest.raises(HsmUnavailable):
        await sign(signer, device_key)


async def test_a_device_that_is_down_is_left_alone(device_key, settings, close_lane, monkeypatch):
    settings.NETHSM_URL = "https://127.0.0.1:1"
    signer = NetHsmSigner()
    for _ in range(FAILURES):
        with pytest.raises(HsmUnavailable):
            await sign(signer, device_key)
    assert signer.breaker.is_open
    monkeypatch.setattr(httpx.AsyncClient, "request", lambda *_, **__: pytest.fail("it was called"))
    with pytest.raises(HsmUnavailable):
        await sign(signer, device_key)


async def test_another_certificate_than_the_pinned_one_is_refused(device_key, settings, tmp_path, close_lane):
    with NetHsmEmulator(tmp_path, admin="root", passphrase="of no interest") as other:
        settings.NETHSM_URL = other.url
        with pytest.raises(HsmMisconfigured, match="certificate"):
            await sign(NetHsmSigner(), device_key)
        assert other.app.calls == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "", "https://user:word@host", "https://host/other"])
async def test_addresses_that_are_not_plain_https_are_refused(device_key, settings, url):
    settings.NETHSM_URL = url
    with pytest.raises(HsmMisconfigured):
        await sign(NetHsmSigner(), device_key)


async def test_a_row_that_names_another_tenants_key_is_refused(signer, device_key, emulator):
    for changed in (
        replace(device_key, tenant_id=uuid.uuid4()),
        replace(device_key, key_id=uuid.uuid4()),
        replace(device_key, hsm=None),
    ):
        with pytest.raises(KeyDamaged):
            await sign(signer, changed)
    assert emulator.app.calls == []


async def test_only_32_bytes_are_sent_to_be_signed(signer, device_key, emulator):
    with pytest.raises(ValueError, match="32 bytes"):
        await signer.sign_event_id(device_key, event_of(device_key), b"m" * 31)
    assert emulator.app.calls == []


@pytest.mark.parametrize("method", CRYPT_METHODS)
async def test_messages_cannot_be_encrypted_or_decrypted(signer, device_key, method):
    with pytest.raises(NoCapability, match="cannot encrypt or decrypt"):
        await signer.crypt(device_key, method, device_key.public_key, "text")


async def test_the_nethsm_signer_states_that_it_signs_but_cannot_encrypt_or_import(signer, device_key):
    found = signer.capabilities(device_key)
    assert (found.name, found.sign, found.ecdh, found.imports) == ("HSM", True, False, False)
    assert any("cannot be read or written" in sentence for sentence in found.sentences)


@pytest.mark.compliance(spec="BIP-340", section="Verification", requirement="a NetHSM's signatures verify")
async def test_a_signed_event_verifies(signer, device_key, emulator):
    event = await sign(signer, device_key)
    assert verify_event(event)
    assert schnorr.verify(bytes.fromhex(device_key.public_key), bytes.fromhex(event.id), bytes.fromhex(event.sig))
    assert emulator.app.calls == [("sign", f"t{device_key.tenant_id.hex}~signer")]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("status", {}), ("disconnect", {}), ("latency", {"seconds": 2}), ("status", {"status": 429, "seconds": 1})],
)
async def test_one_failure_is_tried_again(signer, device_key, emulator, kind, fields):
    misbehave(emulator, kind, "sign", times=1, **fields)
    assert verify_event(await sign(signer, device_key))


async def test_many_at_once_wait_for_a_connection_and_do_not_open_the_breaker(signer, device_key):
    events = await asyncio.gather(*(sign(signer, device_key) for _ in range(60)))
    assert all(verify_event(event) for event in events)
    assert not signer.breaker.is_open


async def test_who_finds_no_free_connection_in_time_is_told_that_the_hsm_is_busy(
    signer, device_key, emulator, monkeypatch
):
    monkeypatch.setattr(calling, "TRY_SECONDS", calling.TOTAL_SECONDS)  # a busy machine makes the device no slower
    misbehave(emulator, "latency", "sign", seconds=1.0)
    many = (sign(signer, device_key) for _ in range(5 * clients.CONNECTIONS))
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, BaseException)]
    assert refused
    assert {type(each) for each in refused} == {HsmThrottled}
    assert len(refused) < len(outcomes)


async def test_the_environments_proxy_counts_for_nothing(signer, device_key, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert verify_event(await sign(signer, device_key))


async def test_nothing_is_signed_for_a_caller_who_hung_up(signer, device_key, emulator):
    misbehave(emulator, "latency", "sign", seconds=0.5)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await signer.sign_event_id(device_key, event_of(device_key), b"m" * 32)
    await asyncio.sleep(0.8)
    assert emulator.app.calls == []
