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


def test_anybody_else_is_not_oneself() -> None:
    to_anybody = {"effect": "allow", "methods": ["nip44_decrypt"], "peers": "any"}
    to_self = to_anybody | {"peers": "self"}
    assert isinstance(decide(talk("nip44_decrypt", ME), to_anybody), Deny)
    assert isinstance(decide(talk("nip44_decrypt"), to_anybody), Allow)
    assert isinstance(decide(talk("nip44_decrypt", ME), to_anybody, to_self), Allow)
    assert isinstance(decide(talk("nip44_decrypt", ME), to_self, to_anybody | {"effect": "deny"}), Deny)


@pytest.mark.parametrize("method", ["nip04_decrypt", "nip44_decrypt"])
def test_only_policies_that_say_so_open_what_the_user_encrypted_to_themself(method: str) -> None:
    opens = {slug for slug, item in TEMPLATES.items() if allows(item.document, talk(method, ME))}
    assert opens == {"messaging-own", "full"}
    writes = {slug for slug, item in TEMPLATES.items() if allows(item.document, talk("nip44_encrypt", ME))}
    assert writes == {"messaging", "messaging-own", "full"}


def allows(document: dict[str, Any], call: RequestedUse) -> bool:
    return isinstance(compile_policy(document).decide(call), Allow)


def test_no_policy_signs_for_the_time_after_a_revocation() -> None:
    ten_years = 10 * 365 * 86_400
    for template in TEMPLATES.values():
        policy = compile_policy(template.document)
        for kind in (0, 1, 3, 4, 7, 13, 1059, 10002, 10050, 22242, 27235, 30023, 31234):
            for ahead in (901, 3600, ten_years):
                assert isinstance(policy.decide(sign(kind, ahead=ahead)), Deny)


def test_an_event_may_be_dated_a_little_ahead_but_not_where_relays_keep_the_latest() -> None:
    allow = rule("allow", 0, 1, 10002, 30023)
    assert isinstance(decide(sign(1, ahead=900), allow), Allow)
    for kind in (0, 10002, 30023):
        decision = decide(sign(kind, ahead=60), allow)
        assert isinstance(decision, Deny)
        assert "60 seconds after the present" in decision.reason
        assert isinstance(decide(sign(kind, ahead=2), allow), Allow), "a phone's clock"


def test_a_rule_may_allow_more_or_less_time_ahead() -> None:
    scheduled = rule("allow", 1, 30023, max_ahead=7 * 86_400)
    assert isinstance(decide(sign(30023, ahead=7 * 86_400), scheduled), Allow)
    assert isinstance(decide(sign(1, ahead=7 * 86_400 + 1), scheduled), Deny)
    assert isinstance(decide(sign(1, ahead=1), rule("allow", 1, max_ahead=0)), Deny)
    assert isinstance(decide(sign(1, ahead=100), rule("ask", 1, max_ahead=99)), Deny)
    assert isinstance(decide(sign(1, ahead=10**9), scheduled, rule("deny", 1, reason="Never.")), Deny)


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
        ("messaging-own", [4, 13, 10050, 22242], [0, 1, 3, 5, 27235]),
        ("full", [0, 1, 3, 5, 13, 1059, 10002, 22242, 27235, 30078, 31234], [24133]),
    ],
)
def test_templates_grant_what_they_say(slug: str, granted: list[int], refused: list[int]) -> None:
    policy = compile_policy(TEMPLATES[slug].document)
    assert all(isinstance(policy.decide(sign(kind)), Allow) for kind in granted)
    assert all(isinstance(policy.decide(sign(kind)), Deny) for kind in refused)


@pytest.mark.parametrize(
    ("slug", "talks"),
    [("read-only", False), ("social", False), ("messaging", True), ("messaging-own", True), ("full", True)],
)
@pytest.mark.parametrize("method", ["nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"])
def test_templates_open_conversations_only_where_they_say(slug: str, talks: bool, method: str) -> None:
    decision = compile_policy(TEMPLATES[slug].document).decide(talk(method))
    assert isinstance(decision, Allow) is talks
