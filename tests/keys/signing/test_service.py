"""One service signs for every mode, and releases only what verifies (threats K1, K5; custody: BIP-340 or nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace

import pytest
from django_scopes import scopes_disabled

from accounts.models import LockAuthority
from keycast.audit.models import AuditRow
from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip04, nip44
from keycast.nostr.nip01 import UnsignedEvent, verify_event
from keycast.nostr.nip46 import CRYPT_METHODS
from keys import selectors, services
from keys.errors import (
    InvalidOperand,
    KekUnavailable,
    KeyDamaged,
    KeyMismatch,
    KeyModeUnavailable,
    OpenKeyExpired,
    SignatureRefused,
)
from keys.lifecycle import damage
from keys.models import KeyState, PersonalKey
from keys.refs import KeyRef
from keys.signing import envelope, factory, local
from keys.signing.kms import registry
from keys.signing.service import SigningService
from tests.keys.conftest import make_key
from tests.keys.fakes import FakeSigner, SlowProvider

PEER, _ = Keypair.generate()
OWN, _ = Keypair.generate()


@pytest.fixture
def service():
    return services.signing_service()


@pytest.fixture
def reports():
    return []


def fake_service(signer, reports=None):
    async def report(key_id, failure):
        reports.append((key_id, failure))

    return SigningService({("hsm", "nethsm"): signer}, report)


def hsm_ref(keypair=OWN):
    import uuid

    return KeyRef(uuid.uuid4(), uuid.uuid4(), keypair.public_key_hex, "hsm", "nethsm")


def event_of(ref, content="hello", **fields):
    return UnsignedEvent(ref.public_key, fields.get("created_at", 1), fields.get("kind", 1), [["t", "x"]], content)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        b"\xff" * 64,
        bytes(63),
        bytes(65),
        PEER.sign(bytes(32)),
    ],
)
async def test_a_signature_that_does_not_verify_is_never_released(signature):
    signer = FakeSigner(signature)
    ref = hsm_ref()
    with pytest.raises(SignatureRefused):
        await fake_service(signer).sign_event(ref, event_of(ref))
    assert signer.forgotten == [ref.key_id]


async def test_a_valid_signature_of_another_key_or_another_event_is_refused():
    ref = hsm_ref()
    with pytest.raises(SignatureRefused):
        await fake_service(FakeSigner(keypair=PEER)).sign_event(ref, event_of(ref))
    other = await fake_service(FakeSigner(keypair=OWN)).sign_event(ref, event_of(ref, "other"))
    with pytest.raises(SignatureRefused):
        await fake_service(FakeSigner(bytes.fromhex(other.sig))).sign_event(ref, event_of(ref))


async def test_an_ecdsa_signature_is_refused():
    import coincurve

    secret = coincurve.PrivateKey()
    ref = replace(hsm_ref(), public_key=secret.public_key_xonly.format().hex())
    event = event_of(ref)
    from keycast.nostr.nip01 import id_of

    compact = secret.sign_recoverable(id_of(event), hasher=None)[:64]
    with pytest.raises(SignatureRefused):
        await fake_service(FakeSigner(compact)).sign_event(ref, event)


async def test_an_event_of_another_author_reaches_no_signer():
    signer = FakeSigner(keypair=OWN)
    ref = hsm_ref()
    with pytest.raises(InvalidOperand):
        await fake_service(signer).sign_event(ref, event_of(hsm_ref(PEER)))
    assert not signer.seen


async def test_a_mode_that_nobody_serves_is_unavailable():
    ref = replace(hsm_ref(), hsm_provider="google")
    service = fake_service(FakeSigner(keypair=OWN))
    with pytest.raises(KeyModeUnavailable):
        await service.sign_event(ref, event_of(ref))
    with pytest.raises(KeyModeUnavailable):
        service.capabilities(ref)


async def test_text_that_utf8_cannot_hold_is_refused():
    ref = hsm_ref()
    with pytest.raises(InvalidOperand):
        await fake_service(FakeSigner(keypair=OWN)).sign_event(ref, event_of(ref, "\ud800"))


async def test_each_signature_is_verified_exactly_once(ref, service, monkeypatch):
    calls = []
    real = schnorr.verify
    monkeypatch.setattr(schnorr, "verify", lambda *given: calls.append(given) or real(*given))
    monkeypatch.setattr(Keypair, "sign", lambda *_: pytest.fail("verifies a second time"))
    await service.sign_event(ref, event_of(ref))
    assert len(calls) == 1


async def test_a_signed_event_is_valid_and_is_the_one_that_was_given(ref, service):
    event = event_of(ref)
    signed = await service.sign_event(ref, event)
    assert verify_event(signed)
    assert (signed.pubkey, signed.created_at, signed.kind, signed.tags, signed.content) == (
        event.pubkey,
        event.created_at,
        event.kind,
        event.tags,
        event.content,
    )


@pytest.mark.opens_keys
async def test_nothing_suspends_while_the_key_encryption_key_is_local(ref, service):
    for _ in range(2):  # cold, then cached
        with pytest.raises(StopIteration):
            service.sign_event(ref, event_of(ref)).send(None)
        with pytest.raises(StopIteration):
            service.crypt(ref, "nip44_encrypt", PEER.public_key_hex, "x").send(None)


@pytest.mark.parametrize("peer", ["", "00" * 32, "zz" * 32, "AB" * 32, OWN.public_key_hex.upper(), "ff" * 32, " " * 64])
async def test_a_peer_that_is_no_public_key_is_refused(ref, service, peer):
    for method in CRYPT_METHODS:
        with pytest.raises(InvalidOperand):
            await service.crypt(ref, method, peer, "x")


@pytest.mark.parametrize("payload", ["", "x", "A" * 200, "?iv=", "AAAA?iv=AAAA", "#" + "A" * 200])
async def test_a_payload_that_does_not_decrypt_is_one_error(ref, service, payload):
    for method in ("nip44_decrypt", "nip04_decrypt"):
        with pytest.raises(InvalidOperand) as caught:
            await service.crypt(ref, method, PEER.public_key_hex, payload)
        assert str(caught.value) == InvalidOperand.public_message
        assert caught.value.__cause__ is None


async def test_nip44_and_nip04_work_both_ways(ref, service):
    user = bytes.fromhex(ref.public_key)
    with nip44.conversation_key(PEER, user) as conversation, nip04.shared_key(PEER, user) as shared:
        sent = await service.crypt(ref, "nip44_encrypt", PEER.public_key_hex, "héllo")
        assert nip44.decrypt(sent, conversation) == "héllo"
        received = nip44.encrypt("answer", conversation)
        assert await service.crypt(ref, "nip44_decrypt", PEER.public_key_hex, received) == "answer"
        assert nip04.decrypt(await service.crypt(ref, "nip04_encrypt", PEER.public_key_hex, "old"), shared) == "old"
        assert await service.crypt(ref, "nip04_decrypt", PEER.public_key_hex, nip04.encrypt("older", shared)) == "older"


@pytest.mark.parametrize("lease", [0, 60])
async def test_it_works_with_and_without_a_lease(ref, service, settings, lease):
    settings.KEK_LEASE_SECONDS = lease
    assert verify_event(await service.sign_event(ref, event_of(ref)))
    sent = await service.crypt(ref, "nip44_encrypt", PEER.public_key_hex, "x")
    assert await service.crypt(ref, "nip44_decrypt", PEER.public_key_hex, sent) == "x"


@pytest.mark.opens_keys
async def test_without_a_lease_the_key_is_wiped_after_each_use(ref, service, settings, monkeypatch):
    settings.KEK_LEASE_SECONDS = 0
    wiped = []
    real = Keypair.wipe
    monkeypatch.setattr(Keypair, "wipe", lambda self: (wiped.append(self.public_key_hex), real(self))[1])
    await service.sign_event(ref, event_of(ref))
    assert ref.public_key in wiped


async def test_a_reference_with_another_tenant_or_public_key_does_not_reach_the_open_key(ref, service, tenant):
    await service.sign_event(ref, event_of(ref))
    import uuid

    for moved in (replace(ref, tenant_id=uuid.uuid4()), replace(ref, public_key=OWN.public_key_hex)):
        with pytest.raises(KeyDamaged):
            await service.crypt(moved, "nip44_encrypt", PEER.public_key_hex, "x")


async def test_a_forgotten_key_is_opened_again(ref, service):
    await service.sign_event(ref, event_of(ref))
    service.forget(ref.key_id)
    assert verify_event(await service.sign_event(ref, event_of(ref)))


async def test_threads_and_a_merciless_forgetter_never_get_a_bad_answer(ref, service):
    stop = threading.Event()

    def forget():
        while not stop.is_set():
            service.forget(ref.key_id)

    def sign():
        return asyncio.run(many())

    async def many():
        events = []
        for number in range(40):
            with contextlib.suppress(OpenKeyExpired):  # forgotten twice in a row: an honest "try again"
                events.append(await service.sign_event(ref, event_of(ref, str(number))))
        return events

    forgetter = threading.Thread(target=forget)
    forgetter.start()
    try:
        batches = await asyncio.gather(*(asyncio.to_thread(sign) for _ in range(3)))
    finally:
        stop.set()
        forgetter.join()
    events = [event for batch in batches for event in batch]
    assert events
    assert all(verify_event(event) for event in events)


class TestDamage:
    """What is stored is not what it should be."""

    pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("close_connections")]

    @pytest.fixture(autouse=True)
    def forget_alerts(self):
        damage._alerted_at.clear()

    def rows_of(self, ref):
        return list(AuditRow.objects.filter(key_id=ref.key_id.hex, tag="keys:key:quarantined"))

    async def test_swapped_ciphertexts_sign_nothing_and_raise_the_alarm(self, user, tenant, service):
        from asgiref.sync import sync_to_async

        one, two = [selectors.key_ref(await sync_to_async(make_key)(user, tenant)) for _ in range(2)]
        swapped = replace(one, sealed=two.sealed)
        with pytest.raises(KeyDamaged):
            await service.sign_event(swapped, event_of(swapped))
        rows = await sync_to_async(self.rows_of)(one)
        assert [row.outcome for row in rows] == ["failed"]
        assert (await sync_to_async(reload)(one)).state == KeyState.ACTIVE, "a wrong key file must not lock every key"

    @pytest.mark.opens_keys
    async def test_material_of_another_key_is_quarantined(self, ref, service):
        from asgiref.sync import sync_to_async

        forged = replace(ref, sealed=forge(ref))
        for _ in range(3):
            with pytest.raises(KeyMismatch):
                await service.sign_event(forged, event_of(forged))
        key = await sync_to_async(reload)(ref)
        assert (key.state, key.state_set_by) == (KeyState.LOCKED, LockAuthority.SYSTEM)
        assert "Integrity" in key.state_reason
        assert len(await sync_to_async(self.rows_of)(ref)) == 1, "one alarm a minute is enough"

    async def test_a_damaged_transport_key_raises_the_alarm_for_its_key(self, ref, transport_ref):
        from asgiref.sync import sync_to_async

        altered = replace(transport_ref, sealed=ref.sealed)
        with pytest.raises(KeyDamaged):
            await services.transport_service().open(altered)
        assert len(await sync_to_async(self.rows_of)(ref)) == 1

    @pytest.mark.opens_keys
    async def test_encryption_raises_the_alarm_too(self, ref, service):
        from asgiref.sync import sync_to_async

        forged = replace(ref, sealed=forge(ref))
        with pytest.raises(KeyMismatch):
            await service.crypt(forged, "nip44_encrypt", PEER.public_key_hex, "x")
        assert (await sync_to_async(reload)(ref)).state == KeyState.LOCKED

    @pytest.mark.opens_keys
    async def test_an_alarm_that_cannot_be_written_changes_nothing_for_the_caller(self, ref, service, monkeypatch):
        from keycast.audit.errors import AuditUnavailable

        def fail(*_, **__):
            raise AuditUnavailable

        monkeypatch.setattr(damage, "record_damage", fail)
        forged = replace(ref, sealed=forge(ref))
        for _ in range(2):
            with pytest.raises(KeyMismatch):
                await service.sign_event(forged, event_of(forged))
        assert ref.key_id not in damage._alerted_at, "and it is tried again the next time"


@pytest.mark.opens_keys
class TestSlowProvider:
    """A key-encryption key behind a network."""

    @pytest.fixture
    def slow(self):
        provider = SlowProvider(registry.provider("local"))
        registry.register("local", lambda: provider)
        yield provider
        from keys.signing.kms.local import LocalKekProvider

        registry.register("local", LocalKekProvider.from_settings)

    async def test_those_who_wait_for_one_key_share_one_call(self, ref, service, slow):
        events = await asyncio.gather(*(service.sign_event(ref, event_of(ref, str(n))) for n in range(20)))
        assert all(verify_event(event) for event in events)
        assert slow.calls == 1
        assert threading.get_ident() not in slow.threads

    async def test_with_a_zero_lease_each_use_unwraps_its_own_data_key(self, ref, service, slow, settings):
        settings.KEK_LEASE_SECONDS = 0
        events = await asyncio.gather(*(service.sign_event(ref, event_of(ref, str(n))) for n in range(4)))
        assert all(verify_event(event) for event in events)
        assert slow.calls == 4

    async def test_a_failed_unwrap_fails_all_waiting_uses_and_is_tried_again(self, ref, service, slow):
        slow.failure = KekUnavailable()
        results = await asyncio.gather(
            *(service.sign_event(ref, event_of(ref)) for _ in range(5)), return_exceptions=True
        )
        assert [type(result) for result in results] == [KekUnavailable] * 5
        slow.failure = None
        assert verify_event(await service.sign_event(ref, event_of(ref)))

    async def test_a_caller_that_gives_up_does_not_take_the_others_along(self, ref, service, slow):
        first = asyncio.create_task(service.sign_event(ref, event_of(ref)))
        second = asyncio.create_task(service.sign_event(ref, event_of(ref)))
        await asyncio.sleep(0.01)
        first.cancel()
        assert verify_event(await second)


def forge(ref):
    """A row as only who holds the key-encryption key could make it: another secret, sealed for this place."""
    return envelope.seal(PEER.secret(), local.sealing_context_of(ref), registry.provider("local"))


def reload(ref):
    with scopes_disabled():
        return PersonalKey.objects.get(pk=ref.key_id)


def test_signing_service_returns_one_instance_per_process():
    assert services.signing_service() is services.signing_service()
    assert factory.lease() == 60
