"""Signer A was taken over: its memory, its database, its way to the co-signer and to the HSM. What it asks is refused.

And each refusal is in the co-signer's own log, which nobody at signer A can change.
"""

from __future__ import annotations

import pytest

from keycast.crypto import musig
from keycast.nostr.nip01 import id_of
from keys.signing.cosigning.errors import CosignerMisbehaved, CosignerRefused, StaleChallenge
from tests.keys.cosigner.hostile import a_nonce, ask_to_sign, refusals, to_sign
from tests.keys.cosigner.support import note


async def test_hoarded_authorisations_are_worth_nothing_when_the_window_has_passed(bench):
    key = await bench.key()
    events = [note(key, f"hoarded {number}") for number in range(10)]
    hoard = [to_sign(bench, key, event) for event in events]
    await ask_to_sign(bench, key, events[0], hoard[0])
    del bench.hsm.keys[key.hsm.key_name]  # the operator has destroyed the version in Cloud KMS
    bench.clock.at += 119.9
    await ask_to_sign(bench, key, events[1], hoard[1])
    bench.clock.at += 0.1
    for event, permit in zip(events[2:], hoard[2:], strict=True):
        with pytest.raises(StaleChallenge):
            await ask_to_sign(bench, key, event, permit)
    assert await refusals(bench, key) == [("sign", "stale-challenge")] * 8


async def test_no_authorisation_can_be_made_for_a_later_day(bench):
    """Whatever signer A has the HSM sign, it does not know what the co-signer will ask for then."""
    key, seen = await bench.key(), set()
    event = note(key)
    for _ in range(20):
        seen.add(bench.cosigner.challenges.current()[0])
        bench.clock.at += 60
    assert len(seen) == 20
    bench.clock.at += 24 * 3600
    for challenge in seen:
        with pytest.raises(StaleChallenge):
            await ask_to_sign(bench, key, event, to_sign(bench, key, event, challenge=challenge))
    assert await refusals(bench, key) == [("sign", "stale-challenge")] * 20


async def test_a_cosigner_that_was_started_again_takes_nothing_from_before(bench):
    key = await bench.key()
    event = note(key)
    used, unused = to_sign(bench, key, event), to_sign(bench, key, event)
    await ask_to_sign(bench, key, event, used)
    await bench.restart()
    await bench.client.close()
    for permit in (used, unused):
        with pytest.raises(StaleChallenge):
            await ask_to_sign(bench, key, event, permit)


async def test_a_request_that_was_served_is_not_served_again(bench):
    """Also not with another nonce: with two parts of one nonce of the co-signer's, its half would be known."""
    key = await bench.key()
    event = note(key)
    permit = to_sign(bench, key, event)
    await ask_to_sign(bench, key, event, permit)
    for _ in range(2):
        with pytest.raises(CosignerRefused):
            await ask_to_sign(bench, key, event, permit)
    assert await refusals(bench, key) == [("sign", "replayed")] * 2


async def test_three_nonces_of_a_make_three_of_b_though_its_randomness_is_constant(bench, monkeypatch):
    """With one nonce for two challenges its half would be known: so the source alone is not relied on."""
    key = await bench.key()
    event = note(key)
    asked = [(a_nonce(id_of(event)), to_sign(bench, key, event)) for _ in range(3)]
    monkeypatch.setattr(musig, "fresh_randomness", lambda: bytes([7]) * 32)
    answers = [await ask_to_sign(bench, key, event, permit, nonce) for nonce, permit in asked]
    assert len({nonce_b for nonce_b, _ in answers}) == 3
    # And with one nonce of A's: what is counted differs.
    again = [await ask_to_sign(bench, key, event, None, asked[0][0]) for _ in range(2)]
    assert len({nonce_b for nonce_b, _ in [*answers, *again]}) == 5


async def test_a_part_with_a_flipped_bit_does_not_go_out(bench, monkeypatch):
    """As faulty memory makes it, or somebody who makes memory faulty."""
    key, sign = await bench.key(), musig.partial_sign

    def flipped(nonce, session):
        part = sign(nonce, session)
        return part[:20] + bytes([part[20] ^ 4]) + part[21:]

    monkeypatch.setattr(musig, "partial_sign", flipped)
    with pytest.raises(CosignerMisbehaved):
        await ask_to_sign(bench, key, note(key))
    assert await refusals(bench, key) == [("sign", "self-check-failed")]
