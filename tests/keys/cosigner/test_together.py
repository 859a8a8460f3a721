"""Authorisations that share one signature: the co-signer refuses made-up ways to a root, and signs by true ones."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from keycast.crypto import schnorr
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.errors import InvalidOperand
from keys.signing.cosigning import authorisation, authorisation_tree
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.errors import CosignerRefused, StaleChallenge
from keys.signing.cosigning.granting import GrantCollector
from tests.keys.cosigner.hostile import ask_to_sign, refusals
from tests.keys.cosigner.support import Bench, note


def shared(bench, key, events):
    """Authorisations of all these events by one signature."""
    challenge, _ = bench.cosigner.challenges.current()
    made = [(challenge, authorisation.new_salt()) for _ in events]
    digests = [
        authorisation.digest(AuthorisationPurpose.SIGN, key.tenant_id, key.key_id, id_of(event), *fresh)
        for event, fresh in zip(events, made, strict=True)
    ]
    root, paths = authorisation_tree.tree(digests)
    signature = bench.hsm.sign(key.hsm.key_name, root)
    return [UseAuthorisation(*fresh, signature, path) for fresh, path in zip(made, paths, strict=True)]


class SlowHsm:
    """One that takes its time, so that others come meanwhile."""

    provider = "google"

    def __init__(self, hsm):
        self.hsm = hsm

    async def authorise(self, hsm, digest):
        await asyncio.sleep(0.01)
        return await self.hsm.authorise(hsm, digest)


def collecting(bench):
    bench.signer.grants = GrantCollector(0.02)
    bench.signer._authorisers = {"google": SlowHsm(bench.hsm)}


@pytest.fixture
async def key(bench):
    return await bench.key()


@pytest.fixture
def events(key):
    return [note(key, str(number)) for number in range(5)]


async def test_an_event_that_is_no_leaf_is_not_signed(bench, key, events):
    permits = shared(bench, key, events)
    other = note(key, "another")
    for permit in permits:
        with pytest.raises(CosignerRefused):
            await ask_to_sign(bench, key, other, permit)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, events[0], permits[1])


@pytest.mark.parametrize("path", [b"\x01" + bytes(32), bytes(33 * 8)])
async def test_a_made_up_way_signs_nothing(bench, key, events, path):
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, events[0], structs.replace(shared(bench, key, events)[0], path=path))


async def test_what_is_no_way_at_all_is_malformed(bench, key, events):
    permit = structs.replace(shared(bench, key, events)[0], path=b"\x09" * 33)
    with pytest.raises(InvalidOperand):
        await ask_to_sign(bench, key, events[0], permit)
    assert await refusals(bench, key) == [("sign", "malformed")]


async def test_another_keys_signature_over_the_root_signs_nothing(bench, key, events):
    other = await bench.key()
    good = shared(bench, key, events)[0]
    await ask_to_sign(bench, key, events[0], good)
    foreign = structs.replace(shared(bench, key, events)[1], signature=good.signature)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, events[1], foreign)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, other, note(other), structs.replace(good, path=b""))


async def test_where_the_operator_wants_one_signature_a_use_a_shared_one_is_refused(tmp_path):
    bench = await Bench(tmp_path, are_signatures_shared=False).start()
    try:
        key = await bench.key()
        events = [note(key, str(number)) for number in range(2)]
        with pytest.raises(CosignerRefused):
            await ask_to_sign(bench, key, events[0], shared(bench, key, events)[0])
        await ask_to_sign(bench, key, events[0])
    finally:
        await bench.stop()


async def test_a_change_of_a_key_has_a_signature_of_its_own(bench, key):
    """Else one HSM operation could end 256 keys, as far as they share an HSM key."""
    public_key, fresh = bytes.fromhex(key.public_key), (await bench.client.challenge(), authorisation.new_salt())
    digest = authorisation.digest(AuthorisationPurpose.FORGET, key.tenant_id, key.key_id, public_key, *fresh)
    root, (path, _) = authorisation_tree.tree([digest, bytes(32)])
    permit = UseAuthorisation(*fresh, bench.hsm.sign(key.hsm.key_name, root), path)
    with pytest.raises(CosignerRefused):
        await bench.client.forget(key.tenant_id, key.key_id, public_key, permit)
    assert await refusals(bench, key) == [("forget", "unauthorised")]


async def test_each_leaf_holds_once_and_only_within_its_window(bench, key, events):
    permits = shared(bench, key, events)
    for event, permit in zip(events[:3], permits, strict=False):
        await ask_to_sign(bench, key, event, permit)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, events[0], permits[0])
    bench.clock.at += 120
    with pytest.raises(StaleChallenge):  # though its root is known as verified
        await ask_to_sign(bench, key, events[3], permits[3])
    assert await refusals(bench, key) == [("sign", "replayed"), ("sign", "stale-challenge")]


async def test_requests_at_one_moment_are_signed_by_few_hsm_operations(bench, key):
    collecting(bench)
    events = [note(key, str(number)) for number in range(40)]
    signatures = await asyncio.gather(*(bench.signer.sign_event_id(key, event, id_of(event)) for event in events))
    for event, signature in zip(events, signatures, strict=True):
        assert schnorr.verify(bytes.fromhex(key.public_key), id_of(event), signature)
    assert bench.hsm.count == bench.signer.grants.operations < 10


async def test_conversations_and_signatures_share_one_too(bench, key):
    collecting(bench)
    peers = [Keypair.generate()[0].public_key_hex for _ in range(6)]
    event = note(key)
    await asyncio.gather(
        bench.signer.sign_event_id(key, event, id_of(event)),
        *(bench.signer.crypt(key, "nip44_encrypt", peer, "hello") for peer in peers),
    )
    assert bench.hsm.count < 7
