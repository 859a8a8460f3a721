"""Signer A was taken over: its memory, its database, its way to the co-signer and to the HSM. What it asks is refused.

And each refusal is in the co-signer's own log, which nobody at signer A can change.
"""

from __future__ import annotations

import pytest

from keys.signing.cosigning import authorisation
from keys.signing.cosigning.errors import CosignerRefused
from tests.keys.cosigner.hostile import ask_to_sign, later, refusals, to_sign
from tests.keys.cosigner.support import note


async def test_hoarded_authorisations_are_worth_nothing_when_the_window_has_passed(bench, monkeypatch):
    key = await bench.key()
    events = [note(key, f"hoarded {number}") for number in range(10)]
    # As far ahead as the co-signer allows, so that they last as long as they can.
    ahead = authorisation.now() + authorisation.LATEST
    hoard = [to_sign(bench, key, event, at=ahead) for event in events]
    await ask_to_sign(bench, key, events[0], hoard[0])
    del bench.hsm.keys[key.hsm.key_name]  # the operator has destroyed the version in Cloud KMS
    later(monkeypatch, 120.1)
    for event, permit in zip(events[1:], hoard[1:], strict=True):
        with pytest.raises(CosignerRefused):
            await ask_to_sign(bench, key, event, permit)
    assert await refusals(bench, key) == [("sign", "unauthorised")] * 9


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
