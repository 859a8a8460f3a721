"""What the engine decides: default deny, deny before ask before allow."""

from __future__ import annotations

from typing import Any

import pytest

from bunker.policy import (
    SENSITIVE_KINDS,
    TEMPLATES,
    Allow,
    Ask,
    Decision,
    Deny,
    PolicyError,
    RequestedUse,
    compile_policy,
)

ME = "aa" * 32
OTHER = "bb" * 32


def sign(kind: int, **fields: Any) -> RequestedUse:
    return RequestedUse(method="sign_event", self_public_key=ME, kind=kind, **fields)


def talk(method: str, peer: str = OTHER) -> RequestedUse:
    return RequestedUse(method=method, self_public_key=ME, peer=peer)


def decide(call: RequestedUse, *rules: dict[str, Any], requested: str = "", **limits: int) -> Decision:
    return compile_policy({"version": 1, "rules": list(rules), "limits": limits}, requested).decide(call)


def rule(effect: str, *kinds: int, **more: Any) -> dict[str, Any]:
    return {"effect": effect, "methods": ["sign_event"], "kinds": list(kinds)} | more


def test_an_empty_policy_denies_everything() -> None:
    for call in (sign(1), talk("nip44_decrypt"), talk("nip04_encrypt")):
        assert isinstance(decide(call), Deny)


def test_an_unparsable_policy_never_compiles() -> None:
    with pytest.raises(PolicyError):
        compile_policy({"version": 1, "rules": [{"effect": "allow"}]})


def test_an_unknown_method_is_denied_even_under_full() -> None:
    policy = compile_policy(TEMPLATES["full"].document)
    assert isinstance(policy.decide(RequestedUse(method="export_key", self_public_key=ME)), Deny)


def test_remote_signing_messages_are_never_signed() -> None:
    assert isinstance(decide(sign(24133), rule("allow", 24133)), Deny)
    assert isinstance(compile_policy(TEMPLATES["full"].document).decide(sign(24133)), Deny)


def test_deny_beats_ask_beats_allow_in_any_order() -> None:
    allow, ask, deny = rule("allow", 1), rule("ask", 1), rule("deny", 1)
    assert isinstance(decide(sign(1), allow, ask, deny), Deny)
    assert isinstance(decide(sign(1), allow, ask), Ask)
    assert isinstance(decide(sign(1), ask, allow), Ask)
    assert isinstance(decide(sign(1), allow), Allow)


def test_a_deny_rule_without_kinds_denies_every_kind() -> None:
    reject_all = {"effect": "deny", "methods": ["sign_event"], "reason": "Closed for the night."}
    assert decide(sign(1), rule("allow", 1), reject_all) == Deny("Closed for the night.")


@pytest.mark.parametrize("kind", sorted(SENSITIVE_KINDS))
def test_ordinary_never_covers_a_sensitive_kind(kind: int) -> None:
    ordinary = {"effect": "allow", "methods": ["sign_event"], "kinds": "ordinary"}
    assert isinstance(decide(sign(kind), ordinary), Deny)
    assert isinstance(decide(sign(kind), ordinary, rule("allow", kind)), Allow)


def test_kinds_bound_signing() -> None:
    assert isinstance(decide(sign(7), rule("allow", 1)), Deny)
    assert isinstance(decide(sign(1), rule("allow", 1)), Allow)


def test_a_kind_is_not_mistaken_for_a_truth_value() -> None:
    assert isinstance(compile_policy(TEMPLATES["social"].document).decide(sign(0)), Deny)


def test_tags_must_be_there_exactly_once_with_a_listed_value() -> None:
    auth = rule("allow", 22242, tags={"relay": ["wss://one.example/", "wss://two.example*"]})
    good = [["relay", "wss://one.example/"], ["challenge", "x"]]
    assert isinstance(decide(sign(22242, tags=good), auth), Allow)
    assert isinstance(decide(sign(22242, tags=[["relay", "wss://two.example/inbox"]]), auth), Allow)
    for tags in ([], [["relay"]], [["relay", "wss://evil.example/"]], [*good, ["relay", "wss://evil.example/"]]):
        assert isinstance(decide(sign(22242, tags=tags), auth), Deny)


def test_max_content_bounds_an_event() -> None:
    short = rule("allow", 1, max_content=3)
    assert isinstance(decide(sign(1, content="abcd"), short), Deny)
    assert isinstance(decide(sign(1, content="abc"), short), Allow)


def test_peers_bound_encrypting() -> None:
    to_self = {"effect": "allow", "methods": ["nip44_encrypt"], "peers": "self"}
    to_other = {"effect": "allow", "methods": ["nip44_encrypt"], "peers": [OTHER]}
    assert isinstance(decide(talk("nip44_encrypt"), to_self), Deny)
    assert isinstance(decide(talk("nip44_encrypt", ME), to_self), Allow)
    assert isinstance(decide(talk("nip44_encrypt"), to_other), Allow)
    assert isinstance(decide(talk("nip44_encrypt", ME), to_other), Deny)
    assert isinstance(decide(talk("nip44_decrypt", ME), to_self), Deny)


def test_uses_run_out() -> None:
    assert isinstance(decide(sign(1, uses=9), rule("allow", 1), total_uses=10), Allow)
    assert isinstance(decide(sign(1, uses=10), rule("allow", 1), total_uses=10), Deny)


def test_what_an_app_asked_for_only_narrows() -> None:
    allow = rule("allow", 1, 7)
    assert isinstance(decide(sign(7), allow, requested="sign_event:1"), Deny)
    assert isinstance(decide(sign(1), allow, requested="sign_event:1"), Allow)
    assert isinstance(decide(sign(3), allow, requested="sign_event,sign_event:3"), Deny)
    assert isinstance(decide(sign(7), allow, requested="sign_event"), Allow)
    assert isinstance(decide(talk("nip44_encrypt"), allow, requested="nip44_encrypt"), Deny)


@pytest.mark.parametrize(
    "requested", ["ping", "get_public_key,*", "nip44_encrypt,sign_event:\u0661", "logout,sign_event:-1"]
)
def test_unknown_permissions_grant_nothing_beside_known_ones(requested: str) -> None:
    assert isinstance(decide(sign(1), rule("allow", 1), requested=requested), Deny)


@pytest.mark.parametrize("requested", ["*", "undefined", "everything", "sign_event:\u0661", "{}", "sign_event:1.0"])
def test_without_a_known_permission_an_app_has_asked_for_nothing(requested: str) -> None:
    assert isinstance(decide(sign(1), rule("allow", 1), requested=requested), Allow)
    assert isinstance(decide(sign(2), rule("allow", 1), requested=requested), Deny)


@pytest.mark.parametrize("requested", ["", " ", ",,"])
def test_asking_for_nothing_leaves_the_whole_grant(requested: str) -> None:
    assert isinstance(decide(sign(1), rule("allow", 1), requested=requested), Allow)


def test_equal_policies_share_one_object() -> None:
    one = compile_policy({"rules": [], "version": 1})
    assert compile_policy({"version": 1, "rules": []}) is one


def test_every_refusal_has_a_sentence() -> None:
    for call in (sign(1), sign(24133), talk("nip04_decrypt"), RequestedUse(method="x" * 500, self_public_key=ME)):
        decision = decide(call)
        assert isinstance(decision, Deny)
        assert decision.reason.endswith(".")
        assert len(decision.reason) < 200


@pytest.mark.parametrize(
    ("slug", "granted", "refused"),
    [
        ("read-only", [], [0, 1, 7, 22242]),
        ("social", [1, 6, 7, 1111, 9734, 30023], [0, 3, 4, 5, 10002, 13, 22242, 27235, 30078]),
        ("messaging", [4, 13, 10050, 22242], [0, 1, 3, 5, 27235]),
        ("full", [0, 1, 3, 5, 13, 1059, 10002, 22242, 27235, 30078, 31234], [24133]),
    ],
)
def test_templates_grant_what_they_say(slug: str, granted: list[int], refused: list[int]) -> None:
    policy = compile_policy(TEMPLATES[slug].document)
    assert all(isinstance(policy.decide(sign(kind)), Allow) for kind in granted)
    assert all(isinstance(policy.decide(sign(kind)), Deny) for kind in refused)


@pytest.mark.parametrize(
    ("slug", "talks"), [("read-only", False), ("social", False), ("messaging", True), ("full", True)]
)
@pytest.mark.parametrize("method", ["nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"])
def test_templates_open_conversations_only_where_they_say(slug: str, talks: bool, method: str) -> None:
    decision = compile_policy(TEMPLATES[slug].document).decide(talk(method))
    assert isinstance(decision, Allow) is talks
