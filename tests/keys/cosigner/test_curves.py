"""An authoriser on P-256 beside those on secp256k1: the key says which it is, and nothing else is tried."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.crypto import authoriser_keys, schnorr
from keycast.crypto.authoriser_keys import Curve
from keycast.nostr.nip01 import id_of
from keys.errors import InvalidOperand
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerRefused
from tests.keys.cosigner.support import FakeHsm, attested, grant, note


class P256Hsm(FakeHsm):
    """As an HSM that has no other curve."""

    def make(self, name):
        self.keys[name] = ec.generate_private_key(ec.SECP256R1())
        return authoriser_keys.tagged(Curve.P256, self.point(name))

    def point(self, name):
        return self.keys[name].public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def sign(self, name, digest):
        self.count += 1
        key = authoriser_keys.tagged(Curve.P256, self.point(name))
        return authoriser_keys.from_der(key, self.keys[name].sign(digest, ec.ECDSA(Prehashed(SHA256()))))


@pytest.fixture
def p256(bench):
    """The bench with such an HSM."""
    bench.hsm = P256Hsm()
    bench.signer = bench.new_signer()
    return bench


async def signs(bench, key, content="hello"):
    event = note(key, content)
    signature = await bench.signer.sign_event_id(key, event, id_of(event))
    return schnorr.verify(bytes.fromhex(key.public_key), id_of(event), signature)


async def test_a_point_without_its_curve_is_taken_for_no_other_curve(p256):
    key = await p256.key(register=False)
    point = p256.hsm.point(key.hsm.key_name)
    try:
        await p256.client.register_authoriser(key.tenant_id, key.key_id, point)
    except InvalidOperand:
        return  # on secp256k1 there is no such point
    with pytest.raises(CosignerRefused):  # there is by chance: what it signs on P-256 counts for nothing
        await signs(p256, key)


@pytest.mark.parametrize("wrong", [b"\x02" * 34, b"\x01\x02" + b"\xff" * 32, b"\x03" + b"\xff" * 32])
async def test_what_is_no_key_of_an_authoriser_is_refused(p256, wrong):
    key = await p256.key(register=False)
    with pytest.raises(InvalidOperand):
        await p256.client.register_authoriser(key.tenant_id, key.key_id, wrong)


async def test_another_key_on_p256_authorises_nothing(p256):
    key, other = await p256.key(), await p256.key()
    p256.hsm.keys[key.hsm.key_name] = p256.hsm.keys[other.hsm.key_name]
    with pytest.raises(CosignerRefused):
        await signs(p256, key)


async def test_a_key_on_p256_authorises_signatures_and_readings(p256):
    key = await p256.key()
    assert len(bytes.fromhex(key.hsm.authoriser)) == 34
    assert await signs(p256, key)
    peer = await p256.key()
    payload = await p256.signer.crypt(key, "nip44_encrypt", peer.public_key, "hello")
    assert await p256.signer.crypt(peer, "nip44_decrypt", key.public_key, payload) == "hello"


@pytest.mark.parametrize("first", [FakeHsm, P256Hsm])
async def test_a_successor_may_be_on_the_other_curve(bench, first):
    bench.hsm = first()
    bench.signer = bench.new_signer()
    key = await bench.key()
    other = P256Hsm() if first is FakeHsm else FakeHsm()
    new, old = other.make(key.hsm.key_name), bytes.fromhex(key.hsm.authoriser)
    subject, challenge = authorisation.succession(old, new), await bench.client.challenge()
    permitted = grant(bench.hsm, key, AuthorisationPurpose.SUCCEED, subject, challenge=challenge)
    await bench.client.succeed_authoriser(key.tenant_id, key.key_id, new, permitted, attested(new))
    await bench.client.settle_authoriser(key.tenant_id, key.key_id, new)
    with pytest.raises(CosignerRefused):
        await signs(bench, key)
    bench.hsm = other
    bench.signer = bench.new_signer()
    assert await signs(bench, key)
    assert await bench.client.authorisers(key.tenant_id, key.key_id) == (new, b"")
