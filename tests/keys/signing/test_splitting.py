"""A stored key is opened, split and sealed again in one place, and half B leaves it for the co-signer alone."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from django.test import override_settings

from keycast.crypto.musig import KeyAggregate
from keycast.crypto.schnorr import Keypair
from keys.errors import KeyDamaged, KeyMismatch
from keys.refs import SecretPurpose
from keys.signing import envelope
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.signing.envelope import SealingContext
from keys.signing.half import half_in_transit_context, sealing_context_of
from keys.signing.key_maker import LocalKeyMaker
from keys.signing.kms.local import LocalKekProvider
from keys.signing.vault import unlock
from tests.keys.cosigner.support import KEK_A, Process

KEK = LocalKekProvider(lambda: KEK_A)
pytestmark = pytest.mark.opens_keys
MAKER = LocalKeyMaker(lambda: KEK, lambda name: KEK)


@pytest.fixture
def whole():
    keypair, secret = Keypair.generate()
    place = SealingContext(uuid.uuid4(), uuid.uuid4(), keypair.public_key_hex, SecretPurpose.PERSONAL_KEY)
    return place, envelope.seal(secret, place, KEK)


def test_what_does_not_open_in_its_place_is_not_split(whole):
    place, sealed = whole
    with pytest.raises(KeyDamaged):
        MAKER.split(sealed, replace(place, row_id=uuid.uuid4()))
    other = replace(place, public_key=Keypair.generate()[0].public_key_hex)
    with Keypair.generate()[0].secret() as secret, pytest.raises(KeyMismatch):
        MAKER.split(envelope.seal(secret, other, KEK), other)


def test_the_sealed_halves_are_the_key_again_and_neither_opens_in_the_others_place(whole):
    place, sealed = whole
    made = MAKER.split(sealed, place)
    ids = place.tenant_id, place.row_id
    unlock(made.sealed_a, sealing_context_of(made.half_a, *ids), KEK).wipe()
    unlock(made.sealed_b, half_in_transit_context(made.half_b, *ids), KEK).wipe()
    with pytest.raises(KeyDamaged):
        unlock(made.sealed_b, sealing_context_of(made.half_b, *ids), KEK)
    aggregate = KeyAggregate(b"\x02" + made.half_a, b"\x02" + made.half_b, made.tweak)
    assert aggregate.public_key.hex() == place.public_key
    again = MAKER.split(sealed, place)
    assert {made.half_a, made.half_b}.isdisjoint({again.half_a, again.half_b})


def test_half_b_reaches_the_co_signer_once_however_often_it_is_sent(whole, tmp_path):
    place, sealed = whole
    made = MAKER.split(sealed, place)
    ids = {"tenant_id": place.tenant_id, "key_id": place.row_id}
    nobody = override_settings(COSIGNER_SOCKET=str(tmp_path / "nobody.sock"), COSIGNER_ADDRESS="")
    with nobody, pytest.raises(CosignerUnavailable):
        MAKER.hand_over(made, **ids, public_key=place.public_key)
    process = Process(tmp_path)
    try:
        with override_settings(COSIGNER_SOCKET=str(process.socket), COSIGNER_ADDRESS=""):
            MAKER.hand_over(made, **ids, public_key=place.public_key)
            MAKER.hand_over(made, **ids, public_key=place.public_key)
            assert blocking(lambda b: b.state(place.tenant_id, place.row_id)) == "pending"
    finally:
        process.stop()
