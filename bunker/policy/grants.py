"""What a policy can allow at most: the methods and kinds that the co-signer of a split key is told of.

Wider than the policy, never narrower: tags, peers, lengths and numbers of uses are the policy's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from bunker.policy.document import PolicyDocument, PolicyRule
from bunker.policy.kinds import FORBIDDEN_KINDS, SENSITIVE_KINDS
from bunker.policy.permissions import Narrowing
from keycast.nostr.nip46 import Nip46Method
from keycast.nostr.types import MAX_KIND

KindRanges = tuple[tuple[int, int], ...]
"""Both ends included, ascending, none beside the next."""


def granted(document: PolicyDocument, bounds: Sequence[Narrowing]) -> tuple[tuple[str, ...], KindRanges]:
    """The methods that some rule allows, and the kinds for ``sign_event``, within each of ``bounds``."""
    rules = [rule for rule in document.rules if rule.effect == "allow"]
    methods = {method for rule in rules for method in rule.methods}
    kinds = _allowed([rule for rule in rules if Nip46Method.SIGN_EVENT in rule.methods])
    for bound in bounds:
        methods &= bound.methods
        if bound.kinds is not None:
            kinds = _ranges(kind for kind in bound.kinds if any(first <= kind <= last for first, last in kinds))
    return tuple(sorted(methods)), kinds


def _allowed(rules: Sequence[PolicyRule]) -> KindRanges:
    named = {kind for rule in rules if isinstance(rule.kinds, list) for kind in rule.kinds} - FORBIDDEN_KINDS
    if not any(rule.kinds == "ordinary" for rule in rules):
        return _ranges(named)
    return _without((SENSITIVE_KINDS | FORBIDDEN_KINDS) - named)


def _without(kinds: Iterable[int]) -> KindRanges:
    edges = [-1, *sorted(kinds), MAX_KIND + 1]
    return tuple((low + 1, high - 1) for low, high in pairwise(edges) if low + 1 < high)


def _ranges(kinds: Iterable[int]) -> KindRanges:
    found: list[tuple[int, int]] = []
    for kind in sorted(kinds):
        if found and found[-1][1] == kind - 1:
            found[-1] = found[-1][0], kind
        else:
            found.append((kind, kind))
    return tuple(found)
