"""What the co-signer has every authorisation name: random, for a time, and each authorisation once."""

from __future__ import annotations

import pytest

from keys.cosigner import challenges
from keys.cosigner.challenges import ChallengeIssuer
from keys.cosigner.store import CosignerRefusalError
from keys.signing.cosigning.messages import RefusalCode
from tests.keys.cosigner.support import Clock


def refusal(issuer: ChallengeIssuer, challenge: bytes, digest: bytes) -> RefusalCode:
    with pytest.raises(CosignerRefusalError) as raised:
        issuer.use_up(challenge, digest)
    return raised.value.code


def test_a_challenge_is_accepted_for_120_seconds_from_its_making_however_often_others_are_asked_for():
    clock = Clock()
    issuer = ChallengeIssuer(clock)
    first, left = issuer.current()
    assert left == 60
    clock.at += 59
    assert issuer.current() == (first, 1)
    clock.at += 1
    second, left = issuer.current()
    assert second != first
    assert left == 60
    clock.at += 59
    issuer.use_up(first, b"1")
    clock.at += 1
    assert refusal(issuer, first, b"2") is RefusalCode.STALE_CHALLENGE
    issuer.use_up(second, b"2")


def test_a_challenge_that_nobody_followed_passes_all_the_same():
    clock = Clock()
    issuer = ChallengeIssuer(clock)
    first, _ = issuer.current()
    clock.at += 120
    assert refusal(issuer, first, b"1") is RefusalCode.STALE_CHALLENGE


def test_what_nobody_issued_is_refused():
    assert refusal(ChallengeIssuer(Clock()), bytes(16), b"1") is RefusalCode.STALE_CHALLENGE


def test_an_authorisation_is_used_once_also_when_a_newer_challenge_was_issued():
    clock = Clock()
    issuer = ChallengeIssuer(clock)
    first, _ = issuer.current()
    issuer.use_up(first, b"1")
    clock.at += 60
    issuer.current()
    assert refusal(issuer, first, b"1") is RefusalCode.REPLAYED


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(challenges, "MAX_USED", 2)
    issuer = ChallengeIssuer(Clock())
    challenge, _ = issuer.current()
    issuer.use_up(challenge, b"1")
    issuer.use_up(challenge, b"2")
    assert refusal(issuer, challenge, b"3") is RefusalCode.BUSY
    assert refusal(issuer, challenge, b"2") is RefusalCode.REPLAYED
