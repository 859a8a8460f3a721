"""The engine: a document compiled once, then asked for each call. Costs a few microseconds and touches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from bunker.policy import replaced
from bunker.policy.decisions import Allow, Ask, Decision, Deny
from bunker.policy.describe import kind_name
from bunker.policy.document import PolicyDocument, PolicyLimits, PolicyRule, parse_document
from bunker.policy.grants import granted
from bunker.policy.kinds import FORBIDDEN_KINDS, SENSITIVE_KINDS, is_replaceable
from bunker.policy.permissions import Narrowing, narrowing
from keycast.nostr.nip46 import KEY_METHODS, METHODS, Nip46Method

MAX_AHEAD = 15 * 60
"""Seconds that an event may be dated after the present where its rule says nothing (the default of ``max_ahead``)."""
CLOCK_DIFFERENCE = 30
"""As much of it is no wish but an app's clock: what is allowed of kinds of which relays keep the latest alone."""


class RequestedUse(msgspec.Struct, frozen=True):
    """One use of a key that an app asks for.

    ``kind``, ``tags`` and ``content`` are the event's (sign_event); ``peer`` is the other side's public key,
    64 hex digits (encrypt, decrypt). ``uses`` is how many key uses this connection has had. ``ahead`` is by how many
    seconds the event is dated after the present.
    """

    method: str
    self_public_key: str
    uses: int = 0
    kind: int | None = None
    tags: Sequence[Sequence[str]] = ()
    content: str = ""
    peer: str | None = None
    ahead: int = 0


class CompiledPolicy:
    """A policy ready to decide. Immutable; equal documents share one instance (compile_policy)."""

    __slots__ = ("_asks_for", "_is_replaced", "_rules", "grants", "limits")

    def __init__(self, document: PolicyDocument, requested: Narrowing | None, *, is_replaced: bool = False) -> None:
        self.limits: PolicyLimits = document.limits
        self._is_replaced = is_replaced
        self._asks_for = requested
        by_weight = {"deny": 0, "ask": 1, "allow": 2}
        rules = sorted(document.rules, key=lambda rule: by_weight[rule.effect])
        self._rules = {method: [_Matcher(rule) for rule in rules if method in rule.methods] for method in KEY_METHODS}
        bounds = [requested] if requested is not None else []
        self.grants = granted(document, [*bounds, replaced.STILL_DONE] if is_replaced else bounds)

    def decide(self, call: RequestedUse) -> Decision:
        """Allow, Deny or Ask, with a reason the app's user can read. Anything not granted is denied."""
        rules = self._rules.get(call.method)
        if rules is None:
            return Deny(f"No policy knows the method {call.method[:32]}.")
        if call.kind in FORBIDDEN_KINDS:
            return Deny(f"Kind {call.kind} is never signed.")
        if self._is_replaced and not replaced.STILL_DONE.covers(call.method, call.kind):
            return Deny(replaced.REFUSAL)
        if self._asks_for is not None and not self._asks_for.covers(call.method, call.kind):
            return Deny(f"{_subject(call)} was not among the permissions the app asked for when it connected.")
        limit = self.limits.total_uses
        if limit is not None and call.uses >= limit:
            return Deny(f"This app has used up its {limit} uses.")
        too_far_ahead: int | None = None
        for rule in rules:
            if rule.matches(call):
                most = rule.most_ahead(call)
                if most is None or call.ahead <= most:
                    return rule.decision(call)
                too_far_ahead = max(most, too_far_ahead or 0)
        if too_far_ahead is not None:
            return Deny(_dated_ahead(call, too_far_ahead))
        return Deny(f"{_subject(call)} is not among the things this app may do.")


class _Matcher:
    __slots__ = ("_effect", "_kinds", "_max_ahead", "_max_content", "_ordinary", "_peers", "_reason", "_tags")

    def __init__(self, rule: PolicyRule) -> None:
        self._effect = rule.effect
        self._reason = rule.reason
        self._ordinary = rule.kinds == "ordinary"
        self._kinds = None if rule.kinds is None or self._ordinary else frozenset(rule.kinds)
        self._peers = frozenset(rule.peers) if isinstance(rule.peers, list) else rule.peers
        self._tags = tuple((rule.tags or {}).items())
        self._max_content = rule.max_content
        self._max_ahead = rule.max_ahead

    def matches(self, call: RequestedUse) -> bool:
        if call.method == Nip46Method.SIGN_EVENT:
            return self._kind_matches(call.kind) and self._event_matches(call)
        return self._peer_matches(call)

    def _kind_matches(self, kind: int | None) -> bool:
        if self._ordinary:
            return kind is not None and kind not in SENSITIVE_KINDS
        if self._kinds is None:  # an open bound may refuse everything, but never grant it
            return self._effect == "deny"
        return kind in self._kinds

    def _event_matches(self, call: RequestedUse) -> bool:
        if self._max_content is not None and len(call.content) > self._max_content:
            return False
        return all(_tag_matches(call.tags, name, values) for name, values in self._tags)

    def _peer_matches(self, call: RequestedUse) -> bool:
        if self._peers is None:
            return self._effect == "deny"
        if self._peers == "any":
            # Wallets, drafts and lists are encrypted to their own author: whoever reads messages need not read those.
            return call.peer is not None and (call.peer != call.self_public_key or self._effect == "deny")
        if self._peers == "self":
            return call.peer == call.self_public_key
        return call.peer in self._peers

    def most_ahead(self, call: RequestedUse) -> int | None:
        """Seconds that the event may be dated after the present for this rule to grant it; None where it refuses.

        An app must not collect signatures for the time after it was revoked.
        """
        if self._effect == "deny":
            return None
        if self._max_ahead is not None:
            return self._max_ahead
        return CLOCK_DIFFERENCE if is_replaceable(call.kind) else MAX_AHEAD

    def decision(self, call: RequestedUse) -> Decision:
        if self._effect == "allow":
            return Allow(self._reason)
        if self._effect == "ask":
            return Ask(self._reason or f"{_subject(call)} needs the owner's approval.")
        return Deny(self._reason or f"{_subject(call)} is refused by this app's policy.")


def _dated_ahead(call: RequestedUse, most: int) -> str:
    bound = f"kind {call.kind} at most {_span(most)} ahead"
    if most <= CLOCK_DIFFERENCE:
        bound = f"no event of kind {call.kind} ahead"
    return f"This event is dated {_span(call.ahead)} after the present; this app may date {bound}. Is the clock right?"


def _span(seconds: int) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"


def _tag_matches(tags: Sequence[Sequence[str]], name: str, values: Sequence[str]) -> bool:
    found = [tag for tag in tags if tag and tag[0] == name]
    if len(found) != 1 or len(found[0]) < 2:
        return False
    value = found[0][1]
    return any(value.startswith(want[:-1]) if want.endswith("*") else value == want for want in values)


def _subject(call: RequestedUse) -> str:
    doing = METHODS[call.method].doing
    return f"{doing} kind {call.kind} ({kind_name(call.kind)})" if call.method == Nip46Method.SIGN_EVENT else doing


def compile_policy(
    document: Mapping[str, Any] | str, requested_permissions: str = "", *, is_replaced: bool = False
) -> CompiledPolicy:
    """Compile a policy document, narrowed to what the app asked for at connect, and to reading on a replaced key.

    Equal inputs give the same object, so ten thousand connections on one template cost one policy.
    Raises PolicyError for a document that does not parse: the caller must then deny.
    """
    text = document if isinstance(document, str) else json.dumps(document, sort_keys=True)
    return _compile(text, requested_permissions, is_replaced)


@lru_cache(maxsize=4096)
def _compile(text: str, requested_permissions: str, is_replaced: bool) -> CompiledPolicy:
    return CompiledPolicy(parse_document(text), narrowing(requested_permissions), is_replaced=is_replaced)
