"""Sealing a stored secret anew, under what fresh secrets are sealed with now (threats K5, K6)."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged, KeyMismatch
from keys.refs import SecretPurpose
from keys.signing import envelope
from keys.signing.envelope import SealingContext
from keys.signing.key_maker import LocalKeyMaker
from keys.signing.kms.local import LocalKekProvider
from keys.signing.vault import unlock
from tests.keys.signing.kms.test_keyfile import line

OLD, NEW = line("1").encode(), line("2").encode()
BOTH = OLD + b"\n" + NEW


def maker_with(text):
    provider = LocalKekProvider(lambda: text)
    return LocalKeyMaker(lambda: provider, lambda name: provider)


@pytest.fixture(params=list(SecretPurpose))
def stored(request):
    """The maker before the rotation's, a place and what is sealed for it, for each kind of secret."""
    keypair, secret = Keypair.generate()
    place = SealingContext(uuid.uuid4(), uuid.uuid4(), keypair.public_key_hex, request.param, uuid.uuid4())
    return place, envelope.seal(secret, place, LocalKekProvider(lambda: OLD)), secret


def test_what_was_moved_or_altered_is_refused(stored):
    place, sealed, _ = stored
    maker = maker_with(BOTH)
    with pytest.raises(KeyDamaged):
        maker.rewrap(sealed, replace(place, tenant_id=uuid.uuid4()))
    with pytest.raises(KeyDamaged):
        maker.rewrap(replace(sealed, blob=sealed.blob[:-1] + bytes([sealed.blob[-1] ^ 1])), place)


def test_a_secret_of_another_public_key_is_refused(stored):
    place, _, _ = stored
    provider = LocalKekProvider(lambda: BOTH)
    strange = envelope.seal(Keypair.generate()[1], place, provider)
    with pytest.raises(KeyMismatch):
        maker_with(BOTH).rewrap(strange, place)


def test_without_the_old_version_nothing_is_rewrapped(stored):
    place, sealed, _ = stored
    with pytest.raises(KekUnavailable):
        maker_with(NEW).rewrap(sealed, place)


def test_it_opens_under_the_current_version_alone_to_the_same_secret(stored):
    place, sealed, secret = stored
    again = maker_with(BOTH).rewrap(sealed, place)
    assert again.kek_version == "2"
    assert envelope.unseal(again, place, LocalKekProvider(lambda: NEW)) == secret
    with pytest.raises(KekUnavailable):
        unlock(again, place, LocalKekProvider(lambda: OLD))
    assert unlock(sealed, place, LocalKekProvider(lambda: OLD)).public_key_hex == place.public_key, "the old one too"


def test_it_may_be_repeated_and_shares_nothing_with_what_it_replaces(stored):
    place, sealed, _ = stored
    maker = maker_with(BOTH)
    first = maker.rewrap(sealed, place)
    second = maker.rewrap(first, place)
    parts = [part for each in (sealed, first, second) for part in envelope._unpack(each.blob)]
    assert len(set(parts)) == 6
    assert second.kek_version == "2"


def test_the_opened_secret_is_wiped_also_when_sealing_fails(stored, monkeypatch):
    place, sealed, _ = stored
    seen: list[SecretBytes] = []

    def failing(secret, *_):
        seen.append(secret)
        raise KekUnavailable

    monkeypatch.setattr("keys.signing.key_maker.envelope.seal", failing)
    with pytest.raises(KekUnavailable):
        maker_with(BOTH).rewrap(sealed, place)
    assert [each.is_wiped for each in seen] == [True]
