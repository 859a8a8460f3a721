"""What the co-signer is told of a policy: all that it allows, and no more methods and kinds."""

from __future__ import annotations

import pytest

from bunker.policy import Allow, RequestedUse
from bunker.policy.engine import compile_policy
from bunker.policy.kinds import SENSITIVE_KINDS

ME = "ab" * 32


def rule(kinds, effect="allow", methods=("sign_event",)):
    return {"effect": effect, "methods": list(methods), "kinds": kinds}


def grants(*rules, requested="", **how):
    return compile_policy({"version": 1, "rules": list(rules)}, requested, **how).grants


def test_what_is_only_asked_about_or_denied_is_no_grant():
    assert grants(rule([1], "ask"), rule([2], "deny")) == ((), ())
    assert grants(rule([24133])) == (("sign_event",), ())


def test_kinds_are_ranges():
    assert grants(rule([3, 1, 2, 7]), rule([8])) == (("sign_event",), ((1, 3), (7, 8)))


def test_what_the_app_did_not_ask_for_at_connect_is_left_out():
    talks = {"effect": "allow", "methods": ["nip44_decrypt"], "peers": "any"}
    assert grants(rule([1, 2]), talks, requested="sign_event:2,ping") == (("sign_event",), ((2, 2),))
    assert grants(rule([1]), talks, requested="nip44_decrypt") == (("nip44_decrypt",), ())


def test_a_replaced_key_has_what_it_still_does():
    assert grants(rule("ordinary"), rule([0, 22242]), is_replaced=True) == (("sign_event",), ((0, 0), (22242, 22242)))


@pytest.mark.parametrize("named", [[], [0, 1059], [24133]])
def test_ordinary_kinds_are_told_exactly_as_they_are_decided(named):
    rules = [rule("ordinary"), *([rule(named)] if named else [])]
    policy = compile_policy({"version": 1, "rules": rules})
    _, kinds = policy.grants
    for kind in (*SENSITIVE_KINDS, 1, 24132, 24133, 24134, 65_535):
        is_told = any(first <= kind <= last for first, last in kinds)
        assert is_told == isinstance(policy.decide(RequestedUse("sign_event", ME, kind=kind)), Allow)
