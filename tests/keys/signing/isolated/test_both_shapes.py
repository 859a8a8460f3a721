"""The same service wherever it runs: refusals, signatures, messages, making, sealing anew, checks (both shapes)."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44
from keycast.nostr.nip01 import UnsignedEvent, id_of, verify_event
from keys.errors import InvalidOperand, KekUnavailable, KeyDamaged, KeyMismatch, KeyModeUnavailable, SecretRefused
from keys.refs import KeyRef, SealedSecret, SecretPurpose, TransportRef
from keys.signing import factory, inspection
from keys.signing.envelope import SealingContext
from keys.signing.half import sealing_context_of
from keys.signing.runtime import signing_service, transport_service
from keys.signing.signer import report

pytestmark = pytest.mark.usefixtures("shape")
PEER, _ = Keypair.generate()


def made_key(purpose=SecretPurpose.PERSONAL_KEY, parent=None):
    tenant_id, row_id = uuid.uuid4(), uuid.uuid4()
    made = factory.key_maker().generate(tenant_id=tenant_id, row_id=row_id, parent_id=parent, purpose=purpose)
    return tenant_id, row_id, made


@pytest.fixture
def key(shape):
    tenant_id, row_id, made = made_key()
    return KeyRef(tenant_id, row_id, made.public_key, "encrypted", "", made.sealed)


@pytest.fixture
def transport(shape):
    tenant_id, row_id, made = made_key(SecretPurpose.TRANSPORT_KEY, parent := uuid.uuid4())
    return TransportRef(tenant_id, row_id, parent, made.public_key, made.sealed)


def note(key, content="hello"):
    return UnsignedEvent(key.public_key, 1_700_000_000, 1, [["t", "x"]], content)


def place(key):
    return SealingContext(key.tenant_id, key.key_id, key.public_key, SecretPurpose.PERSONAL_KEY)


@pytest.mark.parametrize("moved", [{"tenant_id": uuid.uuid4()}, {"key_id": uuid.uuid4()}])
async def test_a_key_put_elsewhere_does_not_open(key, moved, damage):
    with pytest.raises(KeyDamaged):
        await signing_service().sign_event(replace(key, **moved), note(key))


@pytest.fixture
def damage(monkeypatch):
    """No database here: damage is reported to nobody."""

    async def unreported(*_):
        return None

    for service in (signing_service(), transport_service()):
        monkeypatch.setattr(service, "_report", unreported)


async def test_a_key_under_another_public_key_does_not_open(key, damage):
    other = replace(key, public_key=PEER.public_key_hex)
    with pytest.raises(KeyDamaged):
        await signing_service().sign_event(other, note(other))


async def test_a_personal_key_does_not_open_as_a_transport_key(key, damage):
    ref = TransportRef(key.tenant_id, key.key_id, uuid.uuid4(), key.public_key, key.sealed)
    with pytest.raises(KeyDamaged):
        await transport_service().open(ref)


async def test_modes_that_nothing_serves_are_refused(key):
    with pytest.raises(KeyModeUnavailable):
        await signing_service().sign_event(replace(key, key_mode="hsm", hsm_provider="nethsm"), note(key))


async def test_a_version_that_is_not_configured_is_said_to_be_so(key):
    sealed = SealedSecret(key.sealed.provider, "gone-7", key.sealed.blob)
    with pytest.raises(KekUnavailable) as refused:
        await signing_service().sign_event(replace(key, sealed=sealed), note(key))
    assert refused.value.code == "kek-unavailable"


@pytest.mark.parametrize("text", ["", "\ud800", "x" * 700_000])
async def test_what_cannot_be_encrypted_is_one_error(key, text):
    with pytest.raises(InvalidOperand):
        await signing_service().crypt(key, "nip44_encrypt", PEER.public_key_hex, text)


@pytest.mark.parametrize("peer", ["", "zz" * 32, "00" * 32, "f" * 100])
async def test_a_peer_that_is_no_public_key_is_one_error(key, peer):
    with pytest.raises(InvalidOperand):
        await signing_service().crypt(key, "nip44_encrypt", peer, "x")


def test_no_secret_is_made_of_nothing():
    maker = factory.key_maker()
    for secret in (SecretBytes.zero(32), SecretBytes.random(31)):
        with pytest.raises(SecretRefused):
            maker.adopt(secret, tenant_id=uuid.uuid4(), row_id=uuid.uuid4(), purpose=SecretPurpose.PERSONAL_KEY)
        with pytest.raises(SecretRefused):
            maker.split_secret(secret, tenant_id=uuid.uuid4(), key_id=uuid.uuid4())


def test_what_is_altered_is_neither_sealed_anew_nor_split(key):
    altered = replace(key.sealed, blob=key.sealed.blob[:-1] + bytes([key.sealed.blob[-1] ^ 1]))
    for work in (factory.key_maker().rewrap, factory.key_maker().split):
        with pytest.raises(KeyDamaged):
            work(altered, place(key))
        with pytest.raises(KeyDamaged):
            work(key.sealed, replace(place(key), public_key="not hex" * 9))
    with pytest.raises(KeyDamaged):
        inspection.check_personal(replace(key, sealed=altered))


def test_a_stored_secret_of_another_public_key_is_called_a_mismatch(key):
    """The class crosses the socket: it quarantines the key (threats K5)."""
    from keys.signing import envelope
    from keys.signing.kms.local import LocalKekProvider
    from tests.keys.signing.isolated.support import KEK

    wrong = envelope.seal(Keypair.generate()[1], place(key), LocalKekProvider(KEK.encode))
    with pytest.raises(KeyMismatch):
        inspection.check_personal(replace(key, sealed=wrong))


async def test_it_signs(key):
    event = await signing_service().sign_event(key, note(key))
    assert verify_event(event)
    assert event.id == id_of(note(key)).hex()


async def test_it_reads_and_writes_messages(key):
    service = signing_service()
    payload = await service.crypt(key, "nip44_encrypt", PEER.public_key_hex, "grüße")
    with nip44.conversation_key(PEER, bytes.fromhex(key.public_key)) as conversation:
        assert nip44.decrypt(payload, conversation) == "grüße"
    assert await service.crypt(key, "nip44_decrypt", PEER.public_key_hex, payload) == "grüße"
    old = await service.crypt(key, "nip04_encrypt", PEER.public_key_hex, "x" * 1000)
    assert await service.crypt(key, "nip04_decrypt", PEER.public_key_hex, old) == "x" * 1000


async def test_a_long_note_is_signed(key):
    assert verify_event(await signing_service().sign_event(key, note(key, "ü" * 200_000)))


async def test_an_open_transport_key_speaks_here_and_is_opened_once_in_a_lease(transport):
    service = transport_service()
    opened = await service.open(transport)
    assert schnorr.verify(bytes.fromhex(transport.public_key), bytes(32), opened.sign(bytes(32)))
    assert await service.open(transport) is opened
    service.forget(transport.transport_id)
    assert opened.keypair.is_wiped
    assert (await service.open(transport)).public_key == transport.public_key


def test_an_imported_key_is_sealed_for_its_place_alone(key):
    keypair, secret = Keypair.generate()
    row_id = uuid.uuid4()
    made = factory.key_maker().adopt(secret, tenant_id=key.tenant_id, row_id=row_id, purpose=SecretPurpose.PERSONAL_KEY)
    assert made.public_key == keypair.public_key_hex
    ref = KeyRef(key.tenant_id, row_id, made.public_key, "encrypted", "", made.sealed)
    inspection.check_personal(ref)
    with pytest.raises(KeyDamaged):
        inspection.check_personal(replace(ref, key_id=key.key_id))


def test_sealing_anew_keeps_the_key(key):
    again = factory.key_maker().rewrap(key.sealed, place(key))
    assert again.blob != key.sealed.blob
    inspection.check_personal(replace(key, sealed=again))


def test_halves_are_drawn_and_keys_are_split_with_nothing_open_outside(key):
    maker = factory.key_maker()
    half = maker.draw_half(tenant_id=key.tenant_id, key_id=key.key_id)
    assert half.place(key.tenant_id, key.key_id) == sealing_context_of(half.public, key.tenant_id, key.key_id)
    maker.rewrap(half.sealed, half.place(key.tenant_id, key.key_id))
    split = maker.split(key.sealed, place(key))
    maker.rewrap(split.sealed_a, sealing_context_of(split.half_a, key.tenant_id, key.key_id))


def test_the_current_version_is_told_and_the_report_is_good(key):
    state = factory.key_maker().kek_state(key.tenant_id)
    assert (state.provider, state.current) == ("local", "test-1")
    assert factory.key_maker().kek_state(key.tenant_id, "local") == state
    with pytest.raises(KekUnavailable):
        factory.key_maker().kek_state(key.tenant_id, "google")
    assert report().is_ok, report()
    assert factory.kek_problem() == ""


async def test_forgetting_wipes_and_the_next_use_opens_again(key):
    service = signing_service()
    await service.sign_event(key, note(key))
    service.forget(key.key_id)
    service.forget_all()
    assert verify_event(await service.sign_event(key, note(key)))
