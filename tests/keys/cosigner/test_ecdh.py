"""Joint Diffie-Hellman: what the co-signer does not contribute to, and conversations as with the whole key."""

from __future__ import annotations

import asyncio

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip04, nip44
from keycast.nostr.nip01 import id_of
from keys.errors import InvalidOperand, KeyLocked, KeyUnavailable
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.errors import CosignerRefused, StaleChallenge
from tests.keys.cosigner.support import Bench, grant, half_a, note


@pytest.fixture
def peer():
    return Keypair.generate()[0]


async def ask(bench, key, peer, permit):
    return await bench.client.ecdh(key.tenant_id, key.key_id, half_a(key), peer.public_key, permit)


async def test_an_authorisation_of_anything_else_is_refused(bench, peer):
    key, other = await bench.key(), await bench.key()
    challenge, salt = await bench.client.challenge(), authorisation.new_salt()
    wrong = [
        UseAuthorisation(challenge, salt, bytes(64)),
        UseAuthorisation(challenge, salt, bench.hsm.sign(key.hsm.key_name, id_of(note(key)))),
        grant(bench.hsm, key, AuthorisationPurpose.REFRESH, peer.public_key),
        grant(bench.hsm, key, AuthorisationPurpose.ENABLE, peer.public_key),
        grant(bench.hsm, key, AuthorisationPurpose.ECDH, Keypair.generate()[0].public_key),
        grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer.public_key, of=other),
        grant(bench.hsm, other, AuthorisationPurpose.ECDH, peer.public_key, of=key),
    ]
    for permit in wrong:
        with pytest.raises(CosignerRefused):
            await ask(bench, key, peer, permit)


async def test_an_authorisation_holds_once_also_when_many_come_at_once(bench, peer):
    key = await bench.key()
    permit = grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer.public_key)
    answers = await asyncio.gather(*(ask(bench, key, peer, permit) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, CosignerRefused) for answer in answers) == 7


async def test_an_authorisation_holds_once_over_a_restart(tmp_path, peer):
    bench = await Bench(tmp_path).start()
    key = await bench.key()
    permit = grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer.public_key)
    await ask(bench, key, peer, permit)
    await bench.stop()
    await bench.start()
    with pytest.raises(StaleChallenge):
        await ask(bench, key, peer, permit)
    await bench.stop()


async def test_another_tenant_and_a_locked_key_get_nothing(bench, peer):
    key, other = await bench.key(), await bench.key()
    permit = grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer.public_key)
    with pytest.raises(KeyUnavailable):
        await bench.client.ecdh(other.tenant_id, key.key_id, half_a(key), peer.public_key, permit)
    await bench.client.lock(key.tenant_id, key.key_id)
    with pytest.raises(KeyLocked):
        await ask(bench, key, peer, permit)


@pytest.mark.parametrize("text", ["", "zz" * 32, "ff" * 32, "AB" * 32])
async def test_a_peer_that_is_no_key_costs_no_authorisation(bench, text):
    key = await bench.key()
    with pytest.raises(InvalidOperand):
        await bench.signer.crypt(key, "nip44_encrypt", text, "hello")
    assert bench.hsm.count == 0


async def test_what_does_not_decrypt_is_one_error(bench, peer):
    key = await bench.key()
    for payload in ("", "A" * 200):
        with pytest.raises(InvalidOperand):
            await bench.signer.crypt(key, "nip44_decrypt", peer.public_key_hex, payload)
        with pytest.raises(InvalidOperand):
            await bench.signer.crypt(key, "nip04_decrypt", peer.public_key_hex, payload)


@pytest.mark.parametrize("imported", [False, True])
async def test_conversations_are_those_of_the_public_key(bench, peer, imported):
    for _ in range(6):
        key = await bench.key(Keypair.generate()[1] if imported else None)
        public_key = bytes.fromhex(key.public_key)
        sealed = await bench.signer.crypt(key, "nip44_encrypt", peer.public_key_hex, "hello")
        shared = nip44.conversation_key(peer, public_key)
        assert nip44.decrypt(sealed, shared) == "hello"
        back = await bench.signer.crypt(key, "nip44_decrypt", peer.public_key_hex, nip44.encrypt("and back", shared))
        assert back == "and back"
        old = await bench.signer.crypt(key, "nip04_encrypt", peer.public_key_hex, "old")
        assert nip04.decrypt(old, nip04.shared_key(peer, public_key)) == "old"
        assert await bench.signer.crypt(key, "nip04_decrypt", peer.public_key_hex, old) == "old"


async def test_many_messages_with_one_peer_cost_one_authorisation_per_lease(bench, peer):
    key = await bench.key()
    shared = nip44.conversation_key(peer, bytes.fromhex(key.public_key))
    payloads = [nip44.encrypt(str(n), shared) for n in range(30)]
    texts = await asyncio.gather(
        *(bench.signer.crypt(key, "nip44_decrypt", peer.public_key_hex, payload) for payload in payloads)
    )
    assert texts == [str(n) for n in range(30)]
    assert bench.hsm.count == 1
    bench.signer.forget(key.key_id)
    await bench.signer.crypt(key, "nip44_decrypt", peer.public_key_hex, payloads[0])
    assert bench.hsm.count == 2


async def test_without_a_lease_every_message_is_authorised_and_nothing_is_kept(tmp_path, peer):
    bench = await Bench(tmp_path, lease=0).start()
    try:
        key = await bench.key()
        for _ in range(3):
            await bench.signer.crypt(key, "nip44_encrypt", peer.public_key_hex, "hello")
        assert bench.hsm.count == 3
        assert not bench.signer._computing
    finally:
        await bench.stop()
