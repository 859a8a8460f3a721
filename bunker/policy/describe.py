"""Policies in plain sentences, for the owner who grants one and later wonders what it allows."""

from __future__ import annotations

from bunker.policy.document import PolicyDocument, PolicyRule
from bunker.policy.kinds import KIND_NAMES
from keycast.nostr.nip46 import METHODS, Nip46Method

_OPENINGS = {"allow": "May", "ask": "Must ask before it may", "deny": "May never"}


def kind_name(kind: int | None) -> str:
    """A kind's name for people: ``"note"``; ``"kind 31234"`` where none is known."""
    if kind is None:
        return "no kind"
    return KIND_NAMES.get(kind, f"kind {kind}")


def describe(policy: PolicyDocument) -> list[str]:
    """One sentence per grant or refusal, strongest first; never empty."""
    sentences = [
        sentence
        for effect in ("deny", "ask", "allow")
        for rule in policy.rules
        if rule.effect == effect
        for sentence in _describe_rule(rule)
    ]
    if not any(rule.effect != "deny" for rule in policy.rules):
        sentences.append("May see your public key, and nothing else: it signs, encrypts and decrypts nothing.")
    if policy.limits.total_uses is not None:
        sentences.append(f"Ends after {policy.limits.total_uses} uses.")
    if policy.limits.per_minute is not None:
        sentences.append(f"At most {policy.limits.per_minute} uses a minute.")
    return sentences


def _describe_rule(rule: PolicyRule) -> list[str]:
    opening = _OPENINGS[rule.effect]
    sentences = []
    if Nip46Method.SIGN_EVENT in rule.methods:
        sentences.append(f"{opening} sign {_kinds_phrase(rule)}{_bounds_phrase(rule)}.")
    talks = [METHODS[method].grant for method in rule.methods if method != Nip46Method.SIGN_EVENT]
    if talks:
        sentences.append(f"{opening} {_join(talks)} {_peers_phrase(rule)}.")
    return sentences


def _kinds_phrase(rule: PolicyRule) -> str:
    if rule.kinds is None:
        return "anything"
    if rule.kinds == "ordinary":
        return "every kind of event that is not sensitive"
    return _join([f"{kind_name(kind)} ({kind})" for kind in rule.kinds])


def _bounds_phrase(rule: PolicyRule) -> str:
    parts = [f"whose {name} is {' or '.join(values)}" for name, values in (rule.tags or {}).items()]
    if rule.max_content is not None:
        parts.append(f"of at most {rule.max_content} characters")
    if rule.max_ahead is not None:
        parts.append(f"dated at most {rule.max_ahead} seconds after the present")
    return f" {', '.join(parts)}" if parts else ""


def _peers_phrase(rule: PolicyRule) -> str:
    if rule.peers == "self":
        return "to and from yourself only"
    if isinstance(rule.peers, list):
        return f"with {len(rule.peers)} named {'person' if len(rule.peers) == 1 else 'people'}"
    return "with anyone else"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
