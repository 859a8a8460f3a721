"""Sealed secrets open in their own place alone (threats K1, K2, K3, K5, K12)."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged, KeyMismatch
from keys.refs import SealedSecret, SecretPurpose
from keys.signing import envelope
from keys.signing.envelope import SealingContext
from keys.signing.kms.local import LocalKekProvider
from keys.signing.vault import unlock
from tests.keys.signing.kms.test_keyfile import line


class Sealed:
    """A key, sealed for one place."""

    def __init__(self, provider):
        self.keypair, self.secret = Keypair.generate()
        self.place = SealingContext(uuid.uuid4(), uuid.uuid4(), self.keypair.public_key_hex, SecretPurpose.PERSONAL_KEY)
        self.sealed = envelope.seal(self.secret, self.place, provider)


TEXT = f"{line('1')}\n{line('2')}".encode()


@pytest.fixture
def provider():
    return LocalKekProvider(lambda: TEXT)


@pytest.fixture
def subject(provider):
    return Sealed(provider)


OTHER_KEY = Keypair.generate()[0].public_key_hex


@pytest.mark.parametrize(
    "moved",
    [
        {"tenant_id": uuid.uuid4()},
        {"row_id": uuid.uuid4()},
        {"public_key": OTHER_KEY},
        {"purpose": SecretPurpose.TRANSPORT_KEY},
        {"purpose": SecretPurpose.SIGNER_HALF},
        {"parent_id": uuid.uuid4()},
    ],
)
def test_a_secret_moved_to_another_place_does_not_open(subject, provider, moved):
    elsewhere = replace(subject.place, **moved)
    with pytest.raises(KeyDamaged):
        envelope.unseal(subject.sealed, elsewhere, provider)
    # By the envelope itself, whatever a key-encryption key does with the tenant.
    assert elsewhere.binding() != subject.place.binding()


def test_two_rows_that_swap_their_secrets_both_fail(subject, provider):
    other = Sealed(provider)
    for sealed, place in [(subject.sealed, other.place), (other.sealed, subject.place)]:
        with pytest.raises(KeyDamaged):
            envelope.unseal(sealed, place, provider)


def test_parts_of_two_secrets_do_not_combine(subject, provider):
    again = envelope.seal(subject.secret, subject.place, provider)
    (wrapped, _), (_, inner) = envelope._unpack(subject.sealed.blob), envelope._unpack(again.blob)
    with pytest.raises(KeyDamaged):
        envelope.unseal(replace(again, blob=envelope._pack(wrapped, inner)), subject.place, provider)


def test_another_version_of_the_key_encryption_key_does_not_open(subject, provider):
    with pytest.raises(KeyDamaged):
        envelope.unseal(replace(subject.sealed, kek_version="1"), subject.place, provider)
    with pytest.raises(KekUnavailable):
        envelope.unseal(replace(subject.sealed, kek_version="9"), subject.place, provider)


def test_each_flipped_bit_of_each_byte_is_found(subject, provider):
    blob = subject.sealed.blob
    for position in range(len(blob)):
        for bit in (0, 3, 7):
            altered = bytearray(blob)
            altered[position] ^= 1 << bit
            with pytest.raises(KeyDamaged):
                envelope.unseal(replace(subject.sealed, blob=bytes(altered)), subject.place, provider)


def test_each_truncation_and_every_extension_is_found(subject, provider):
    blob = subject.sealed.blob
    altered = [blob[:size] for size in range(len(blob))] + [blob + b"\0", b"\0" + blob, blob * 2, blob + bytes(10_000)]
    for candidate in altered:
        with pytest.raises(KeyDamaged):
            envelope.unseal(replace(subject.sealed, blob=candidate), subject.place, provider)


def test_an_unknown_header_version_is_refused(subject, provider):
    for version in (0, 2, 255):
        with pytest.raises(KeyDamaged):
            envelope.unseal(
                replace(subject.sealed, blob=bytes([version]) + subject.sealed.blob[1:]), subject.place, provider
            )


def test_a_sealed_secret_of_the_wrong_length_is_damage(subject, provider):
    sealed = envelope.seal(SecretBytes.random(31), subject.place, provider)
    with pytest.raises(KeyDamaged):
        unlock(sealed, subject.place, provider)


def test_a_secret_of_zero_is_damage(subject, provider):
    sealed = envelope.seal(SecretBytes.zero(32), subject.place, provider)
    with pytest.raises(KeyDamaged):
        unlock(sealed, subject.place, provider)


def test_a_secret_that_opens_to_another_public_key_is_a_mismatch(provider):
    """Only who holds the key-encryption key could make such a row; it is caught all the same (K5)."""
    place = SealingContext(uuid.uuid4(), uuid.uuid4(), OTHER_KEY, SecretPurpose.PERSONAL_KEY)
    with pytest.raises(KeyMismatch):
        unlock(envelope.seal(Keypair.generate()[1], place, provider), place, provider)


def test_no_two_seals_share_a_data_key_or_a_nonce(subject, provider):
    blobs = [envelope.seal(subject.secret, subject.place, provider).blob for _ in range(300)]
    parts = [part for blob in blobs for part in envelope._unpack(blob)]
    nonces = {part[1:13] for part in parts}
    assert len(nonces) == len(parts) == 600


def test_a_sealed_secret_opens_in_its_place(subject, provider):
    assert envelope.unseal(subject.sealed, subject.place, provider) == subject.secret
    assert unlock(subject.sealed, subject.place, provider).public_key_hex == subject.place.public_key


def test_rewrapping_changes_the_outer_layer_alone(subject, provider):
    newer = LocalKekProvider(lambda: TEXT + b"\n" + line("3").encode())
    moved = envelope.rewrap(subject.sealed, subject.place, newer, newer)
    assert moved.kek_version == "3"
    assert envelope._unpack(moved.blob)[1] == envelope._unpack(subject.sealed.blob)[1]
    assert envelope.unseal(moved, subject.place, newer) == subject.secret


def test_rewrapping_refuses_a_row_that_does_not_open(subject, provider):
    altered = replace(subject.sealed, blob=subject.sealed.blob[:20] + b"\0" + subject.sealed.blob[21:])
    with pytest.raises(KeyDamaged):
        envelope.rewrap(altered, subject.place, provider, provider)


def test_the_blob_is_not_in_the_repr(subject):
    assert "blob" not in repr(subject.sealed)
    assert isinstance(subject.sealed, SealedSecret)
