"""Signatures: what the co-signer refuses whoever asks, and what two halves sign together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from msgspec import structs

from keycast.crypto import musig, schnorr
from keycast.crypto.musig import ORDER
from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.cosigner.service import CosignerLimits
from keys.errors import InvalidOperand, KeyExists, KeyLocked, KeyMismatch, KeyUnavailable
from keys.signing.cosigning import messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.client import CosignerClient, LostReply
from keys.signing.cosigning.errors import (
    CosignerMisbehaved,
    CosignerRateLimited,
    CosignerRefused,
    CosignerUnavailable,
    StaleChallenge,
    StaleHalf,
)
from keys.signing.service import SigningService
from tests.keys.cosigner.hostile import a_nonce
from tests.keys.cosigner.support import Bench, grant, half_a, note


async def no_report(*_):
    raise AssertionError("no damage expected")


def signing(bench, key, event_id=None, **changes):
    """An authorisation to sign one event."""
    return grant(bench.hsm, key, AuthorisationPurpose.SIGN, event_id or id_of(note(key)), **changes)


async def ask(bench, key, event=None, *, authorised=None, event_id=None, nonce=None, tenant_id=None, half=None):
    """One request to sign, as somebody in full control of signer A would send it."""
    event = event or note(key)
    event_id = event_id or id_of(event)
    if nonce is None:
        nonce = a_nonce(event_id)
    if authorised is None:
        authorised = signing(bench, key, event_id)
    return await bench.client.sign(
        tenant_id or key.tenant_id, key.key_id, half or half_a(key), event, event_id, nonce, authorised
    )


@pytest.mark.parametrize("signature", [bytes(64), b"\x01" * 64, b"\xff" * 64])
async def test_without_an_authorisation_nothing_is_signed(bench, signature):
    key = await bench.key()
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=structs.replace(signing(bench, key), signature=signature))


async def test_the_bare_signature_over_an_event_id_signs_nothing(bench):
    """What an HSM key might sign for another purpose, or did before authorisations had a purpose."""
    key = await bench.key()
    bare = structs.replace(signing(bench, key), signature=bench.hsm.sign(key.hsm.key_name, id_of(note(key))))
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=bare)


async def test_an_authorisation_that_names_no_challenge_of_the_cosigners_signs_nothing(bench):
    key = await bench.key()
    with pytest.raises(StaleChallenge):
        await ask(bench, key, authorised=signing(bench, key, challenge=bytes(16)))


async def test_an_authorisation_signs_once_and_a_repetition_is_told(bench):
    key = await bench.key()
    authorised = signing(bench, key)
    await ask(bench, key, authorised=authorised)
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=authorised)
    assert await last_row(bench) == ("denied", key.key_id.hex, '{"reason":"replayed","request":"sign"}')


async def test_an_authorisation_for_another_event_signs_nothing(bench):
    key = await bench.key()
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=signing(bench, key, id_of(note(key, "another"))))


async def test_another_keys_authorisation_signs_nothing(bench):
    key, other = await bench.key(), await bench.key()
    for authorised in (signing(bench, other, id_of(note(key))), signing(bench, key, of=other)):
        with pytest.raises(CosignerRefused):
            await ask(bench, key, authorised=authorised)


async def test_another_tenant_signs_nothing(bench):
    key = await bench.key()
    with pytest.raises(KeyUnavailable):
        await ask(bench, key, tenant_id=uuid4())


async def test_an_authorisation_of_another_purpose_signs_nothing(bench):
    key = await bench.key()
    ecdh = grant(bench.hsm, key, AuthorisationPurpose.ECDH, id_of(note(key)))
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=ecdh)


async def test_an_event_whose_id_does_not_match_is_not_signed(bench):
    key = await bench.key()
    wrong = id_of(note(key, "what is shown to the HSM"))
    with pytest.raises(InvalidOperand):
        await ask(bench, key, note(key, "what is sent"), event_id=wrong)


async def test_an_event_of_another_author_is_not_signed(bench):
    key, other = await bench.key(), await bench.key()
    with pytest.raises(InvalidOperand):
        await ask(bench, key, note(other))


async def test_a_high_s_authorisation_is_refused(bench):
    key = await bench.key()
    low = signing(bench, key)
    high = low.signature[:32] + (ORDER - int.from_bytes(low.signature[32:], "big")).to_bytes(32, "big")
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=structs.replace(low, signature=high))


async def test_a_key_without_authoriser_signs_nothing(bench):
    key = await bench.key(register=False)
    with pytest.raises(KeyUnavailable):
        await ask(bench, key)


async def test_an_authoriser_is_registered_once_and_for_ever(bench):
    key = await bench.key()
    with pytest.raises(KeyExists):
        await bench.client.register_authoriser(key.tenant_id, key.key_id, bench.hsm.make("attacker"))
    await bench.client.register_authoriser(key.tenant_id, key.key_id, bytes.fromhex(key.hsm.authoriser))


async def test_two_keys_never_share_an_authoriser(bench):
    key, other = await bench.key(), await bench.key(register=False)
    with pytest.raises(KeyExists):
        await bench.client.register_authoriser(other.tenant_id, other.key_id, bytes.fromhex(key.hsm.authoriser))


async def test_a_locked_key_signs_nothing_until_the_hsm_enables_it(bench):
    key = await bench.key()
    await bench.client.lock(key.tenant_id, key.key_id)
    with pytest.raises(KeyLocked):
        await ask(bench, key)
    forged = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, bytes.fromhex(key.public_key))
    with pytest.raises(CosignerRefused):
        await bench.client.enable(key.tenant_id, key.key_id, forged)
    enable = grant(bench.hsm, key, AuthorisationPurpose.ENABLE, bytes.fromhex(key.public_key))
    await bench.client.enable(key.tenant_id, key.key_id, enable)
    await ask(bench, key)
    await bench.client.disable(key.tenant_id, key.key_id)
    with pytest.raises(KeyUnavailable):
        await ask(bench, key)
    with pytest.raises(CosignerRefused):  # replayed
        await bench.client.enable(key.tenant_id, key.key_id, enable)


@pytest.mark.parametrize("nonce", [bytes(66), b"\x05" * 66])
async def test_a_malformed_nonce_is_refused(bench, nonce):
    key = await bench.key()
    with pytest.raises(InvalidOperand):
        await ask(bench, key, nonce=nonce)


async def test_an_unknown_half_is_stale(bench):
    key = await bench.key()
    with pytest.raises(StaleHalf):
        await ask(bench, key, half=bytes(31) + b"\x01")


async def test_a_key_that_exists_is_neither_created_nor_adopted_again(bench):
    key = await bench.key()
    keypair, _ = even_half()
    with pytest.raises(KeyExists):
        await bench.client.create(key.tenant_id, key.key_id, keypair.public_key)
    with pytest.raises(KeyExists):
        await bench.client.create(key.tenant_id, key.key_id, half_a(key))
    whole = musig.KeyAggregate(b"\x02" + keypair.public_key, b"\x02" + (b := even_half())[0].public_key, b"\x01" * 32)
    with pytest.raises(KeyExists):
        await bench.client.adopt_half(
            key.tenant_id, key.key_id, keypair.public_key, b[1], b"\x01" * 32, whole.public_key
        )


async def test_a_half_that_does_not_make_the_public_key_is_not_adopted(bench):
    (first, _), (_, half_b) = even_half(), even_half()
    wrong = Keypair.generate()[0].public_key
    with pytest.raises(InvalidOperand):
        await bench.client.adopt_half(uuid4(), uuid4(), first.public_key, half_b, b"\x01" * 32, wrong)


async def test_one_request_with_one_nonce_twice_gets_two_different_nonces_of_the_co_signer(bench):
    """Whoever controls signer A may repeat its own nonce: the co-signer's is fresh each time, so no half leaks."""
    key = await bench.key()
    event_id = id_of(note(key))
    nonce = a_nonce(event_id)
    first, second = await ask(bench, key, nonce=nonce), await ask(bench, key, nonce=nonce)
    assert first[0] != second[0]
    assert first[1] != second[1]


async def test_nothing_that_the_co_signer_can_be_asked_answers_with_a_half(bench):
    """Replies hold nonces, partial signatures, points of others, differences with a fresh half, and public keys."""
    fields = {
        reply.__struct_fields__
        for reply in (messages.HalfReply, messages.PartialSignatureReply, messages.PrepareRefreshReply)
    }
    assert fields == {("number", "half_b"), ("number", "nonce_b", "partial"), ("number", "half_b", "difference")}


async def test_a_limit_of_its_own_holds_for_each_key_and_tenant(tmp_path):
    bench = await Bench(tmp_path, limits=CosignerLimits((0.001, 6), (0.001, 9))).start()
    try:
        tenant_id = uuid4()
        key, other = [await bench.key(tenant_id=tenant_id) for _ in range(2)]
        for _ in range(4):
            await ask(bench, key)
        with pytest.raises(CosignerRateLimited):
            await ask(bench, key)
        with pytest.raises(CosignerRateLimited):
            await ask(bench, other)
        await bench.key()
    finally:
        await bench.stop()


async def test_each_signature_of_one_event_is_a_row_that_names_it(bench):
    key = await bench.key()
    for _ in range(3):
        await ask(bench, key)
    rows = await bench.store.write(
        lambda w: w.execute("SELECT request_id, data FROM audit_auditrow WHERE tag LIKE '%signed'").fetchall()
    )
    assert rows == [(id_of(note(key)).hex(), '{"kind":1,"without":"no-app"}')] * 3


async def last_row(bench):
    return await bench.store.write(
        lambda w: w.execute("SELECT outcome, key_id, data FROM audit_auditrow ORDER BY id DESC").fetchone()
    )


async def test_every_refusal_is_in_the_co_signers_log(bench):
    key = await bench.key()
    with pytest.raises(CosignerRefused):
        await ask(bench, key, authorised=signing(bench, key, bytes(32)))
    assert await last_row(bench) == ("denied", key.key_id.hex, '{"reason":"unauthorised","request":"sign"}')


async def test_a_created_key_signs(bench):
    key = await bench.key()
    service = SigningService({("hsm", "google"): bench.signer}, no_report)
    for content in ("one", "two"):
        event = await service.sign_event(key, note(key, content))
        assert schnorr.verify(bytes.fromhex(key.public_key), bytes.fromhex(event.id), bytes.fromhex(event.sig))
    assert bench.hsm.count == 2


async def test_an_imported_key_signs_under_its_own_public_key(bench):
    whole, secret = Keypair.generate()
    key = await bench.key(secret)
    assert key.public_key == whole.public_key_hex
    event_id = id_of(note(key))
    signature = await bench.signer.sign_event_id(key, note(key), event_id)
    assert schnorr.verify(whole.public_key, event_id, signature)


async def test_many_signatures_at_once(bench):
    key = await bench.key()
    events = [note(key, str(n)) for n in range(60)]
    signatures = await asyncio.gather(*(bench.signer.sign_event_id(key, event, id_of(event)) for event in events))
    for event, signature in zip(events, signatures, strict=True):
        assert schnorr.verify(bytes.fromhex(key.public_key), id_of(event), signature)


async def test_nothing_is_kept_open_without_a_lease(tmp_path):
    bench = await Bench(tmp_path, lease=0).start()
    try:
        key = await bench.key()
        await bench.signer.sign_event_id(key, note(key), id_of(note(key)))
        assert len(bench.vault_b._cache) == len(bench.signer._vault._cache) == 0
    finally:
        await bench.stop()


class Faulty(CosignerClient):
    """A way to the co-signer on which things go wrong."""

    def __init__(self, where, spoil, times=1):
        super().__init__(where)
        self.spoil, self.times, self.nonces = spoil, times, []

    async def sign(self, *arguments):
        self.nonces.append(arguments[-2])
        reply = await super().sign(*arguments)
        if self.times > 0:
            self.times -= 1
            return self.spoil(*reply)
        return reply


def lose(*_):
    raise LostReply


async def test_a_lost_reply_is_repeated_with_a_fresh_nonce_and_another_authorisation(bench, monkeypatch):
    key = await bench.key()
    monkeypatch.setattr(musig, "fresh_randomness", lambda: bytes([7]) * 32)
    client = Faulty(lambda: bench.address, lose)
    signature = await bench.new_signer(client).sign_event_id(key, note(key), id_of(note(key)))
    assert schnorr.verify(bytes.fromhex(key.public_key), id_of(note(key)), signature)
    assert len(set(client.nonces)) == len(client.nonces) == 2
    assert bench.hsm.count == 2
    await client.close()


async def test_replies_lost_again_and_again_are_told(bench):
    key = await bench.key()
    client = Faulty(lambda: bench.address, lose, times=9)
    with pytest.raises(CosignerUnavailable):
        await bench.new_signer(client).sign_event_id(key, note(key), id_of(note(key)))
    await client.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda nonce, partial: (nonce, bytes([partial[0] ^ 1]) + partial[1:]),
        lambda nonce, partial: (bytes(66), partial),
        lambda nonce, partial: (nonce, b"\xff" * 32),
    ],
)
async def test_a_wrong_part_of_the_co_signer_is_never_combined(bench, spoil):
    key = await bench.key()
    client = Faulty(lambda: bench.address, spoil)
    with pytest.raises(CosignerMisbehaved):
        await bench.new_signer(client).sign_event_id(key, note(key), id_of(note(key)))
    await client.close()


async def test_halves_that_do_not_make_the_rows_key_are_not_used(bench):
    key, other = await bench.key(), await bench.key()
    with pytest.raises(KeyMismatch):
        await bench.signer.sign_event_id(replace(key, public_key=other.public_key), note(other), id_of(note(other)))


async def test_without_a_co_signer_the_answer_comes_soon_and_says_so(bench):
    key = await bench.key()
    await bench.client.close()
    client = CosignerClient(lambda: type(bench.address)(path=bench.folder / "nobody.sock"))
    with pytest.raises(CosignerUnavailable):
        await bench.new_signer(client).sign_event_id(key, note(key), id_of(note(key)))
