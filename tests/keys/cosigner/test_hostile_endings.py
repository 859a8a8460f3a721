"""Signer A was taken over and wants keys gone for ever, or an old half to stay: it gets neither."""

from __future__ import annotations

import pytest
from msgspec import structs

from keycast.nostr.nip01 import id_of
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerRefused, StaleHalf
from tests.keys.cosigner.hostile import ask_to_sign, committed, later, logged, refusals, to_sign
from tests.keys.cosigner.support import grant, half_a, note
from tests.keys.cosigner.test_forgetting import files_with, permit, state, stored


async def test_an_active_key_is_neither_forgotten_without_the_hsm_nor_withdrawn(bench):
    key = await bench.key()
    event, public_key = note(key), bytes.fromhex(key.public_key)
    for tried in (structs.replace(permit(bench, key), signature=bytes(64)), to_sign(bench, key, event)):
        with pytest.raises(CosignerRefused):
            await bench.client.forget(key.tenant_id, key.key_id, public_key, tried)
    with pytest.raises(CosignerRefused):
        await bench.client.withdraw(key.tenant_id, key.key_id, bytes.fromhex(key.hsm.cosigner_public_key))
    await bench.client.lock(key.tenant_id, key.key_id)
    with pytest.raises(CosignerRefused):
        await bench.client.withdraw(key.tenant_id, key.key_id, bytes.fromhex(key.hsm.cosigner_public_key))
    refused = [("forget", "unauthorised")] * 2 + [("withdraw", "unauthorised")] * 2
    assert await refusals(bench, key) == refused
    assert len(await stored(bench, key)) == 1


async def test_with_the_hsm_as_well_it_takes_out_of_use_and_destroys_nothing_for_thirty_days(bench, monkeypatch):
    key = await bench.key()
    await bench.client.forget(key.tenant_id, key.key_id, bytes.fromhex(key.public_key), permit(bench, key))
    later(monkeypatch, 29 * 24 * 3600)
    await bench.cosigner.clock.tick()
    await bench.client.keep(key.tenant_id, key.key_id)
    enable = grant(bench.hsm, key, AuthorisationPurpose.ENABLE, bytes.fromhex(key.public_key))
    await bench.client.enable(key.tenant_id, key.key_id, enable)
    await bench.signer.sign_event_id(key, note(key), id_of(note(key)))


async def test_who_leaves_finish_out_loses_the_old_half_after_an_hour(bench, monkeypatch):
    key = await bench.key()
    (old,) = await stored(bench, key)
    half, tweak = await committed(bench, key)
    later(monkeypatch, 3599)
    await bench.cosigner.clock.tick()
    await ask_to_sign(bench, key, note(key, "both sign"))
    later(monkeypatch, 2)
    await bench.cosigner.clock.tick()
    with pytest.raises(StaleHalf):
        await ask_to_sign(bench, key, note(key, "with the old half"))
    assert await refusals(bench, key) == [("sign", "stale-half")]
    assert files_with(bench, old) == []
    assert ("cosigner:refresh:finished", "ok") in await logged(bench, key)
    # An honest signer A that was away meanwhile goes on with the new ones.
    assert half != half_a(key)
    await bench.client.commit_refresh(key.tenant_id, key.key_id, half, tweak)
    await bench.client.finish_refresh(key.tenant_id, key.key_id, half)
    assert await state(bench, key) == "active"
