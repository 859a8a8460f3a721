"""Which documents are policies, and that anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bunker.policy import TEMPLATES, PolicyError, describe, parse_document

NOTE_RULE = {"effect": "allow", "methods": ["sign_event"], "kinds": [1]}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version":1}',
        '{"version":2,"rules":[]}',
        '{"version":"1","rules":[]}',
        '{"version":true,"rules":[]}',
        '{"version":1,"rules":[],"extra":1}',
        '{"version":1,"rules":{}}',
        "[" * 20000,
        '{"version":1,"rules":' + "[" * 20000,
        '{"version":1,"rules":[],"limits":{"total_uses":0}}',
        '{"version":1,"rules":[],"limits":{"total_uses":-1}}',
        '{"version":1,"rules":[],"limits":{"total_uses":true}}',
        '{"version":1,"rules":[],"limits":{"hourly":1}}',
        " " * 40000,
    ],
)
def test_it_refuses_what_is_not_a_policy(document: str) -> None:
    with pytest.raises(PolicyError):
        parse_document(document)


@pytest.mark.parametrize(
    "change",
    [
        {"effect": "permit"},
        {"effect": None},
        {"methods": []},
        {"methods": ["sign_evnt"]},
        {"methods": "sign_event"},
        {"methods": ["connect"]},
        {"kinds": []},
        {"kinds": None},
        {"kinds": [-1]},
        {"kinds": [65536]},
        {"kinds": [True]},
        {"kinds": ["1"]},
        {"kinds": [1.5]},
        {"kinds": "all"},
        {"kind": [1]},
        {"peers": "any"},
        {"tags": {"": ["x"]}},
        {"tags": {"relay": "wss://one.example"}},
        {"max_content": -1},
    ],
)
def test_it_refuses_a_rule_that_says_something_unknown(change: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_document({"version": 1, "rules": [NOTE_RULE | change]})


@pytest.mark.parametrize("peers", [None, "everyone", [], ["AB" * 32], ["ab" * 31], ["ab" * 32 + "\n"]])
def test_it_refuses_peers_it_cannot_read(peers: Any) -> None:
    rule = {"effect": "allow", "methods": ["nip44_decrypt"], "peers": peers}
    with pytest.raises(PolicyError):
        parse_document({"version": 1, "rules": [rule]})


def test_an_error_names_the_rule() -> None:
    bad = {"effect": "allow", "methods": ["sign_event"]}
    with pytest.raises(PolicyError, match="Rule 2"):
        parse_document({"version": 1, "rules": [NOTE_RULE, bad]})


@pytest.mark.parametrize("bad", [{"max_ahead": -1}, {"max_ahead": 1.5}, {"max_ahead": 60, "effect": "deny"}])
def test_it_refuses_a_time_ahead_that_bounds_nothing(bad: Any) -> None:
    with pytest.raises(PolicyError):
        parse_document({"version": 1, "rules": [NOTE_RULE | bad]})


@pytest.mark.parametrize("slug", ["read-only", "social", "messaging", "messaging-own", "full"])
def test_every_template_is_a_policy_and_can_be_described(slug: str) -> None:
    template = TEMPLATES[slug]
    assert template.slug == slug
    assert template.may
    assert template.may_not
    assert describe(parse_document(json.dumps(template.document)))


def test_a_description_names_kinds_bounds_and_limits() -> None:
    document = {
        "version": 1,
        "rules": [
            NOTE_RULE | {"max_content": 280, "max_ahead": 60},
            {"effect": "deny", "methods": ["sign_event"], "kinds": [5]},
            {"effect": "ask", "methods": ["nip44_decrypt"], "peers": "self"},
        ],
        "limits": {"total_uses": 10, "per_minute": 2},
    }
    assert describe(parse_document(document)) == [
        "May never sign deletion request (5).",
        "Must ask before it may decrypt messages (NIP-44) to and from yourself only.",
        "May sign note (1) of at most 280 characters, dated at most 60 seconds after the present.",
        "Ends after 10 uses.",
        "At most 2 uses a minute.",
    ]
