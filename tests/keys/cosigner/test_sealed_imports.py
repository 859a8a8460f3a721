"""Half B comes sealed by the owner's browser: signer A carries it, and can change nothing about it."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from keycast.crypto import schnorr
from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.errors import InvalidOperand, KeyExists
from keys.refs import HsmRef, KeyRef, SealedSecret
from keys.signing import sealed_halves
from keys.signing.cosigning.errors import CosignerRefused
from keys.signing.half import seal_half
from keys.signing.sealed_halves import HalfRole
from tests.keys.cosigner.support import kek_a, note
from tests.keys.signing.page import drawn, seal


async def page(bench, **named):
    """A page: what it says, half A, and half B sealed to the co-signer."""
    said, a, b = drawn(Keypair.generate()[1], **named)
    return said, a, seal(b, await bench.client.encryption_key(said.tenant_id, said.key_id), said, HalfRole.COSIGNER)


@pytest.mark.parametrize("field", ["tenant_id", "key_id", "token", "public_key", "half_a", "half_b", "tweak"])
async def test_a_half_carried_to_another_place_is_refused(bench, field):
    said, _, sealed = await page(bench)
    other = uuid4() if field.endswith("_id") else even_half()[0].public_key
    with pytest.raises(InvalidOperand):
        await bench.client.adopt_sealed_half(replace(said, **{field: other}), sealed)
    assert await bench.client.adopt_sealed_half(said, sealed) == b"\x02" + said.half_b


async def test_signer_as_half_is_not_taken_as_half_b(bench):
    said, a, _ = await page(bench)
    sealed = seal(a, await bench.client.encryption_key(said.tenant_id, said.key_id), said, HalfRole.SIGNER)
    with pytest.raises(InvalidOperand):
        await bench.client.adopt_sealed_half(said, sealed)


async def test_a_half_sealed_to_a_key_of_signer_as_is_refused(bench):
    said, _, b = drawn(Keypair.generate()[1])
    sealed = seal(b, sealed_halves.public_of(sealed_halves.fresh_key()), said, HalfRole.COSIGNER)
    with pytest.raises(InvalidOperand):
        await bench.client.adopt_sealed_half(said, sealed)


async def test_a_sealed_half_is_taken_once(bench):
    said, _, sealed = await page(bench)
    await bench.client.adopt_sealed_half(said, sealed)
    with pytest.raises(CosignerRefused):
        await bench.client.adopt_sealed_half(said, sealed)


async def test_a_key_that_is_known_is_not_replaced(bench):
    key = await bench.key()
    said, _, sealed = await page(bench, tenant_id=key.tenant_id, key_id=key.key_id)
    with pytest.raises(KeyExists):
        await bench.client.adopt_sealed_half(said, sealed)


async def test_what_was_sealed_before_a_start_is_worth_nothing_after_it(bench):
    said, _, sealed = await page(bench)
    before = await bench.client.encryption_key(said.tenant_id, said.key_id)
    await bench.client.close()
    await bench.restart()
    with pytest.raises(InvalidOperand):
        await bench.client.adopt_sealed_half(said, sealed)
    assert await bench.client.encryption_key(said.tenant_id, said.key_id) != before


async def test_a_key_that_a_browser_split_signs(bench):
    said, a, sealed = await page(bench)
    half_b = await bench.client.adopt_sealed_half(said, sealed)
    with Keypair.from_secret(a) as keypair:
        half = seal_half(keypair, a, said.tenant_id, said.key_id, kek_a())
    authoriser = bench.hsm.make("user-x")
    await bench.client.register_authoriser(said.tenant_id, said.key_id, authoriser)
    hsm = HsmRef("user-x", "user-x/1", authoriser.hex(), said.tweak.hex(), half_b[1:].hex())
    kept = SealedSecret("google", half.sealed.kek_version, half.pack())
    key = KeyRef(said.tenant_id, said.key_id, said.public_key.hex(), "hsm", "google", kept, hsm)
    event_id = id_of(note(key))
    signature = await bench.signer.sign_event_id(key, note(key), event_id)
    assert schnorr.verify(said.public_key, event_id, signature)
