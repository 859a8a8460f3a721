"""Key-encryption keys in Cloud KMS: nothing moved or altered opens, and every failure ends in time."""

from __future__ import annotations

import uuid

import pytest
from google.cloud import kms_v1

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.emulators.kms.faults import KmsFault, KmsFaultKind
from keys import selectors, services
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm import calling
from keys.hsm.google import clients, provider
from keys.hsm.google import kek as google
from keys.hsm.google.kek import GoogleKekProvider
from keys.refs import SecretPurpose
from keys.signing import envelope
from keys.signing.envelope import SealingContext
from keys.signing.kms import registry
from keys.signing.vault import unlock
from tests.keys.conftest import make_key
from tests.keys.hsm.google.conftest import RING, misbehave

TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def kek(emulator, monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.3)
    name = f"keys-{uuid.uuid4().hex}"
    key = kms_v1.CryptoKey(
        purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT,
        version_template=kms_v1.CryptoKeyVersionTemplate(
            algorithm=kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm.GOOGLE_SYMMETRIC_ENCRYPTION,
            protection_level=kms_v1.ProtectionLevel.HSM,
        ),
    )
    made = clients.blocking_client().create_crypto_key(parent=RING, crypto_key_id=name, crypto_key=key)
    return GoogleKekProvider(made.name)


@pytest.fixture
def wrapped(kek):
    with SecretBytes(b"\x07" * 32) as data_key:
        return kek.wrap(data_key, tenant_id=TENANT, aad=b"here")


def opened(kek, wrapped, **changes):
    given = {"blob": wrapped.blob, "kek_version": wrapped.kek_version, "tenant_id": TENANT, "aad": b"here"} | changes
    with kek.unwrap(given.pop("blob"), **given) as secret:
        return secret.view().tobytes()


def add_version(kek, *, is_primary):
    client = clients.blocking_client()
    version = client.create_crypto_key_version(parent=kek._key, crypto_key_version=kms_v1.CryptoKeyVersion()).name
    if is_primary:
        client.update_crypto_key_primary_version(name=kek._key, crypto_key_version_id=version.rpartition("/")[2])
    return version


def test_a_name_that_is_not_of_a_key_is_refused():
    for name in ("", RING, f"{RING}/cryptoKeys/a/cryptoKeyVersions/1", "key"):
        with pytest.raises(KekUnavailable):
            GoogleKekProvider(name)


@pytest.mark.parametrize(
    "changes",
    [{"tenant_id": OTHER}, {"aad": b"there"}, {"blob": b"\x00" * 80}, {"blob": b""}],
)
def test_what_was_moved_or_altered_does_not_open(kek, wrapped, changes):
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, **changes)


@pytest.mark.parametrize("between", [(), ("UNAVAILABLE",)])
def test_one_refusal_is_no_damage_for_a_fault_of_the_transfer_gives_the_same(kek, emulator, wrapped, between):
    """A bit that flips on the way, in the ciphertext or in its checksum: Cloud KMS answers INVALID_ARGUMENT."""
    codes = (*between, "INVALID_ARGUMENT")
    faults = [KmsFault(KmsFaultKind.ERROR, ("Decrypt",), times=1, code=code) for code in codes]
    emulator.faults.set(faults)
    assert opened(kek, wrapped) == b"\x07" * 32


def test_what_is_refused_twice_is_damaged(kek, emulator, wrapped):
    emulator.calls.clear()
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, blob=wrapped.blob[:-1] + bytes([wrapped.blob[-1] ^ 1]))
    assert emulator.calls["Decrypt"] == 2


def test_a_refusal_that_there_is_no_time_to_repeat_is_no_damage(kek, emulator, wrapped, monkeypatch):
    monkeypatch.setattr(calling, "TRIES", 1)
    misbehave(emulator, "error", "Decrypt", code="INVALID_ARGUMENT")
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)


def test_every_flipped_byte_is_damage(kek, wrapped):
    for index in range(0, len(wrapped.blob), 7):
        altered = bytearray(wrapped.blob)
        altered[index] ^= 1
        with pytest.raises((KeyDamaged, KekUnavailable)):
            opened(kek, wrapped, blob=bytes(altered))


def test_another_version_or_key_in_the_row_does_not_open(kek, wrapped):
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, kek_version=f"{kek._key}/cryptoKeyVersions/2")
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped, kek_version=f"{RING}/cryptoKeys/mine/cryptoKeyVersions/1")


@pytest.mark.parametrize("kind", ["wrong-checksum", "unverified", "wrong-name"])
def test_an_answer_to_wrap_that_fails_a_check_is_thrown_away(kek, emulator, kind):
    emulator.calls.clear()
    misbehave(emulator, kind, "Encrypt")
    with SecretBytes.zero(32) as data_key, pytest.raises(KekUnavailable):
        kek.wrap(data_key, tenant_id=TENANT, aad=b"here")
    assert emulator.calls["Encrypt"] == 3


def test_a_wrong_checksum_of_the_plaintext_is_thrown_away(kek, emulator, wrapped):
    misbehave(emulator, "wrong-checksum", "Decrypt", times=2)
    assert opened(kek, wrapped) == b"\x07" * 32
    misbehave(emulator, "wrong-checksum", "Decrypt")
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)


def test_a_wrong_data_key_with_a_right_checksum_opens_nothing(kek, emulator):
    keypair, secret = Keypair.generate()
    place = SealingContext(TENANT, uuid.uuid4(), keypair.public_key_hex, SecretPurpose.PERSONAL_KEY)
    with keypair, secret:
        sealed = envelope.seal(secret, place, kek)
    misbehave(emulator, "wrong-payload", "Decrypt", times=1)
    with pytest.raises(KeyDamaged):
        unlock(sealed, place, kek)
    unlock(sealed, place, kek).wipe()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "FAILED_PRECONDITION"])
def test_failures_end_in_time_with_the_same_error(kek, emulator, wrapped, code):
    misbehave(emulator, "error", "Decrypt", code=code)
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)
    emulator.faults.set([])
    assert opened(kek, wrapped) == b"\x07" * 32


def test_it_wraps_under_the_primary_version_and_opens_older_ones(kek, wrapped, monkeypatch):
    assert wrapped.kek_version == f"{kek._key}/cryptoKeyVersions/1"
    second = add_version(kek, is_primary=True)
    assert kek.current_version(TENANT) == wrapped.kek_version  # looked up less than a minute ago
    monkeypatch.setattr(google, "PRIMARY_KEPT_SECONDS", 0.0)
    with SecretBytes.zero(32) as data_key:
        assert kek.wrap(data_key, tenant_id=TENANT, aad=b"here").kek_version == second
    assert opened(kek, wrapped) == b"\x07" * 32


def test_a_version_disabled_since_it_was_looked_up_is_looked_up_again(kek, wrapped, keeper):
    second = add_version(kek, is_primary=True)
    keeper.disable(wrapped.kek_version)
    with SecretBytes.zero(32) as data_key:
        assert kek.wrap(data_key, tenant_id=TENANT, aad=b"here").kek_version == second
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)


def test_a_personal_key_sealed_under_a_google_kek_opens(kek, settings, user, tenant, db):
    settings.GCP_KEK, settings.KEK_PROVIDER = kek._key, "google"
    registry.register("google", provider.kek)
    try:
        key = make_key(user, tenant)
        assert (key.kek_provider, key.kek_version) == ("google", f"{kek._key}/cryptoKeyVersions/1")
        assert services.self_test() == []
        assert selectors.key_ref(key).sealed.provider == "google"
    finally:
        registry._factories.pop("google")
        registry.reset()
